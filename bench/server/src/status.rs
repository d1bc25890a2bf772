//! Requests at a fixed rate, whether the server keeps up or not.
//!
//! Contract: a request's time begins when it is due, not when it is sent, so that a server which stands still for a second is
//! seen by all requests of that second. It takes as many connections as are needed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::Failed;
use crate::client::{Asked, Connection, Target};
use crate::latency::Latencies;

/// What is asked, and how often.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// The path that is read.
    #[arg(long)]
    get: String,
    /// Reads a second.
    #[arg(long, default_value_t = 490)]
    gets: u32,
    /// The path that is posted to.
    #[arg(long)]
    post: Option<String>,
    /// The JSON that is posted; `{n}` stands for a number that is another one each time.
    #[arg(long, default_value = "{}")]
    body: String,
    /// Posts a second.
    #[arg(long, default_value_t = 10)]
    posts: u32,
    /// Seconds of all this.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

/// Requests of one kind.
struct Kind {
    target: Arc<Target>,
    method: Method,
    path: String,
    body: String,
    /// Connections that nobody uses.
    idle: Mutex<Vec<Connection>>,
    latencies: Mutex<Latencies>,
}

/// Asks; returns what to print.
pub(crate) async fn run(target: Arc<Target>, load: Load) -> Result<Value, Failed> {
    let kind = |method, path: &str, body: &str| {
        let (target, path, body) = (target.clone(), path.to_owned(), body.to_owned());
        let (idle, latencies) = (Mutex::default(), Mutex::default());
        Arc::new(Kind { target, method, path, body, idle, latencies })
    };
    let gets = kind(Method::GET, &load.get, "");
    let posts = load.post.as_ref().map(|path| kind(Method::POST, path, &load.body));
    let posting = async {
        match posts {
            Some(posts) => posts.at(load.posts, load.seconds).await.map(Some),
            None => Ok(None),
        }
    };
    let (gets, posts) = tokio::try_join!(gets.clone().at(load.gets, load.seconds), posting)?;
    Ok(json!({
        "seconds": load.seconds,
        "gets_per_second": load.gets, "gets": gets,
        "posts_per_second": posts.as_ref().map(|_| load.posts), "posts": posts,
    }))
}

impl Kind {
    /// Asks so many times a second.
    async fn at(self: Arc<Self>, rate: u32, seconds: u32) -> Result<Value, Failed> {
        let begin = Instant::now();
        let mut asking = Vec::new();
        for n in 0..rate * seconds {
            let due = begin + Duration::from_secs(1) * n / rate.max(1);
            tokio::time::sleep_until(due.into()).await;
            asking.push(tokio::spawn(self.clone().ask(n, due)));
        }
        for one in asking {
            one.await?;
        }
        Ok(std::mem::take(&mut *self.latencies.lock().await).report())
    }

    async fn ask(self: Arc<Self>, n: u32, due: Instant) {
        let answer = self.answer(n).await;
        let mut latencies = self.latencies.lock().await;
        match answer {
            Ok(()) => latencies.add(due.elapsed()),
            Err(error) => latencies.fail(&error),
        }
    }

    async fn answer(&self, n: u32) -> Result<(), Failed> {
        let idle = self.idle.lock().await.pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.target.clone()).await?,
        };
        let asked = Asked {
            method: self.method.clone(),
            path: self.path.clone(),
            kind: "application/json",
            body: self.body.replace("{n}", &n.to_string()).into(),
        };
        let answer = connection.send(asked).await?;
        self.idle.lock().await.push(connection);
        answer.good().map(drop)
    }
}
