//! The one client model: so many connections, one request in flight on each, and the next one as soon as the last was
//! acknowledged. A system's own file only says which bytes a request is and where its acknowledgement ends; everything else
//! is the same for all, so that a difference between two systems is theirs.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::child::own_processor;

/// One connection's side of a protocol, without any I/O.
pub(crate) trait Client: Send {
    /// The next request, whole.
    fn request(&mut self) -> &[u8];

    /// Requests, one after another, that make up what is counted and timed.
    fn steps(&self) -> usize {
        1
    }

    /// Looks for the acknowledgement in what came since the request; gives where it ends, or none while it is not whole.
    /// Whatever else a server may say before it is part of it. A refusal is an error.
    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>>;
}

/// A connection that was opened, and greeted as its protocol wants it.
pub(crate) type Lane = (TcpStream, Box<dyn Client>);

/// What came of one measurement.
pub(crate) struct Outcome {
    /// Acknowledged a second.
    pub(crate) rate: f64,
    /// In milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Processors that the load kept busy, and that the system did (as far as it runs apart from us).
    pub(crate) load_cores: f64,
    pub(crate) system_cores: Option<f64>,
}

/// Loads for a time. Every connection begins with one of what is counted that does not count: what is made at the first use of a
/// mailbox is made then.
pub(crate) fn drive(
    runtime: &Runtime,
    lanes: Vec<Lane>,
    length: Duration,
    system: impl Fn() -> f64,
) -> anyhow::Result<Outcome> {
    runtime.block_on(async {
        let barrier = Arc::new(Barrier::new(lanes.len() + 1));
        let mut tasks = JoinSet::new();
        for (stream, client) in lanes {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let stream = tokio::net::TcpStream::from_std(stream)?;
            tasks.spawn(run(stream, client, Arc::clone(&barrier), length));
        }
        tokio::select! {
            _ = barrier.wait() => {}
            // Before the barrier only an error ends a lane.
            Some(ended) = tasks.join_next() => { ended??; bail!("a connection ended before its time") }
        }
        let (began, own, its) = (Instant::now(), own_processor(), system());
        let mut times = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            times.append(&mut ended??);
        }
        let took = began.elapsed().as_secs_f64();
        ensure!(!times.is_empty(), "nothing was acknowledged");
        times.sort_unstable();
        let percentile = |percent: usize| f64::from(times[(times.len() * percent).div_ceil(100) - 1]) / 1_000.0;
        Ok(Outcome {
            rate: times.len() as f64 / took,
            p50: percentile(50),
            p99: percentile(99),
            load_cores: (own_processor() - own) / took,
            system_cores: Some((system() - its) / took),
        })
    })
}

/// One connection; gives how many microseconds each request took.
async fn run(
    mut stream: tokio::net::TcpStream,
    mut client: Box<dyn Client>,
    barrier: Arc<Barrier>,
    length: Duration,
) -> anyhow::Result<Vec<u32>> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for _ in 0..client.steps() {
        ask(&mut stream, &mut *client, &mut buffer).await?;
    }
    barrier.wait().await;
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < length {
        let asked = Instant::now();
        for _ in 0..client.steps() {
            ask(&mut stream, &mut *client, &mut buffer).await?;
        }
        times.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(times)
}

async fn ask(stream: &mut tokio::net::TcpStream, client: &mut dyn Client, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    stream.write_all(client.request()).await?;
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(buffer)).await.context("no acknowledgement came")??;
        ensure!(read > 0, "the server closed the connection");
        if let Some(end) = client.acknowledged(buffer)? {
            buffer.drain(..end);
            return Ok(());
        }
    }
}

const BUFFER_BYTES: usize = 4_096;
/// A request that takes longer ends the measurement.
const PATIENCE: Duration = Duration::from_secs(60);
