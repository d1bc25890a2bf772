//! Measures a lake of many small commits: how fast they come in, how long planning and scanning take.
//!
//! `bench-lake [DATABASE_URL]`: SQLite in a temporary folder without it. Prints one line a measurement; every
//! figure is measured in this run, next to what it is compared with.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod catalog;
mod scan;
mod tail;
mod world;

use std::io::Write;
use std::time::Instant;

use model::PortError;

use world::World;

/// What any of this may fail with.
type Result<T> = std::result::Result<T, PortError>;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1);
    let number = |name: &str, otherwise: u64| {
        let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
        set.unwrap_or(otherwise)
    };
    let world = World::open(url.as_deref()).await?;
    println!("fsync: {:.0} a second", fsyncs(&world));
    Box::pin(tail::measure(&world, number("SLUICE_SECONDS", 10))).await?;
    Box::pin(scan::measure(&world, number("SLUICE_COMMITS", 20_000))).await?;
    Box::pin(catalog::measure(&world, number("SLUICE_FILES", 1_000_000))).await
}

/// Returns how many small writes the disk makes durable in a second, one after another.
fn fsyncs(world: &World) -> f64 {
    let mut file = std::fs::File::create(world.path("fsync")).expect("a folder of its own");
    let begin = Instant::now();
    for _ in 0..200 {
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("there is room");
    }
    200.0 / begin.elapsed().as_secs_f64()
}

/// Returns the median of some times, in milliseconds.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Returns how many milliseconds have passed.
fn since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
