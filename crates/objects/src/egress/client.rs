//! An HTTP client that calls only what may be called.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use model::limits::{CALL_SECONDS, CONNECT_SECONDS, SILENCE_SECONDS};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use super::Egress;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the client. Whoever sends with it has to check the request's URL by [`Egress::check_url`] first: the
/// client resolves names only, and asks for none where an address stands.
///
/// # Errors
///
/// The client's own, where the certificates of this host cannot be read.
pub(crate) fn client(egress: Arc<Egress>) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(Resolver { egress }))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS))
        .read_timeout(Duration::from_secs(SILENCE_SECONDS))
        .timeout(Duration::from_secs(CALL_SECONDS))
        .build()
}

/// Returns the addresses of a host that may be called, with port 0.
pub(crate) async fn resolve(egress: &Egress, host: &str) -> Result<Vec<SocketAddr>, AnyError> {
    let name = host.to_owned();
    let look = move || {
        let found = (name.as_str(), 0).to_socket_addrs()?;
        Ok::<_, std::io::Error>(found.collect::<Vec<SocketAddr>>())
    };
    let found = tokio::task::spawn_blocking(look).await?;
    let unknown = |error| format!("the host `{host}` was not found: {error}");
    Ok(egress.admit(host, found.map_err(unknown)?)?)
}

/// Resolves names as the system does, and leaves out what may not be called.
struct Resolver {
    egress: Arc<Egress>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.egress.clone();
        Box::pin(async move {
            let admitted = resolve(&egress, name.as_str()).await?;
            Ok::<Addrs, AnyError>(Box::new(admitted.into_iter()))
        })
    }
}
