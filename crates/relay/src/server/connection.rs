//! One connection's stream with its time-outs, which hyper does not have: five seconds for a first byte and a whole head,
//! 75 between two requests, none while a request is being answered; and 15 without progress when writing. At the end it
//! lingers, so that a reply is not lost to a request whose rest nobody reads.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::service::Clock;

/// Where a connection stands; shared between its stream, its requests and whoever makes room.
#[derive(Clone)]
pub(super) struct Phase(Arc<Shared>);

struct Shared {
    phase: AtomicU8,
    /// Milliseconds of the clock when the phase began.
    since: AtomicU64,
    close: CancellationToken,
}

impl Phase {
    pub(super) fn new(clock: &Clock) -> Self {
        let phase =
            Self(Arc::new(Shared { phase: AtomicU8::new(NEW), since: AtomicU64::new(0), close: CancellationToken::new() }));
        phase.enter(NEW, clock);
        phase
    }

    /// A request is being answered.
    pub(super) fn busy(&self, clock: &Clock) {
        self.enter(BUSY, clock);
    }

    /// It is answered, and the reply is on its way to the peer.
    pub(super) fn replying(&self, clock: &Clock) {
        self.enter(REPLYING, clock);
    }

    /// A poll is to wait, as soon as all that was written before it is out.
    pub(super) fn parking(&self, clock: &Clock) {
        self.enter(PARKING, clock);
    }

    /// Whether it is out.
    pub(super) fn is_parked(&self) -> bool {
        self.current() == PARKED
    }

    /// It has become a stream, which minds its own time.
    pub(super) fn streaming(&self, clock: &Clock) {
        self.enter(STREAM, clock);
    }

    /// Since when its peer has kept it waiting for a request; none while it does not, or nobody has looked yet whether it does.
    pub(super) fn idle_since(&self) -> Option<u64> {
        matches!(self.current(), HEAD | IDLE).then(|| self.0.since.load(Ordering::SeqCst))
    }

    /// Whether nothing is being answered on it.
    pub(super) fn is_unasked(&self) -> bool {
        matches!(self.current(), NEW | HEAD | IDLE)
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        self.0.close.cancel();
    }

    /// Ends when [`close`](Self::close) was called.
    pub(super) async fn closed(&self) {
        self.0.close.cancelled().await;
    }

    fn current(&self) -> u8 {
        self.0.phase.load(Ordering::SeqCst)
    }

    fn enter(&self, phase: u8, clock: &Clock) {
        self.0.since.store(clock.elapsed().as_millis() as u64, Ordering::SeqCst);
        self.0.phase.store(phase, Ordering::SeqCst);
    }
}

/// How long each phase may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) head: Duration,
    pub(super) idle: Duration,
}

/// A stream that fails when its peer takes too long.
pub(super) struct Timed<S> {
    stream: S,
    clock: Clock,
    phase: Phase,
    patience: Patience,
    reading: Option<Alarm>,
    writing: Option<Alarm>,
    lingering: Option<Linger>,
}

/// After our last byte: until when, and how much more of the peer's is read and thrown away.
struct Linger {
    until: Duration,
    bytes_left: usize,
}

struct Alarm {
    at: Duration,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, clock: Clock, phase: Phase, patience: Patience) -> Self {
        Self { stream, clock, phase, patience, reading: None, writing: None, lingering: None }
    }

    fn read_deadline(&self) -> Option<Duration> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::on("deadlines_ignored") {
            return None;
        }
        let since = Duration::from_millis(self.phase.0.since.load(Ordering::SeqCst));
        match self.phase.current() {
            NEW | HEAD => Some(since + self.patience.head),
            IDLE => Some(since + self.patience.idle),
            _ => None,
        }
    }
}

/// Whether `at` has come; if not, the task is woken when it has. An alarm that is set for an earlier moment is left as it is
/// and rings for nothing once: a deadline that moves with every request would otherwise set a timer for each.
fn overdue(alarm: &mut Option<Alarm>, at: Duration, clock: &Clock, context: &mut Context<'_>) -> bool {
    loop {
        match alarm {
            Some(set) if set.at <= at => {
                if set.sleep.as_mut().poll(context).is_pending() {
                    return false;
                }
                *alarm = None;
                if clock.elapsed() >= at {
                    return true;
                }
            }
            _ => {
                let clock = clock.clone();
                *alarm = Some(Alarm { at, sleep: Box::pin(async move { clock.sleep_until(at).await }) });
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(result) => {
                if this.phase.current() == IDLE {
                    // The first bytes of a next request: its head is due.
                    this.phase.enter(HEAD, &this.clock);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                if this.phase.current() == NEW {
                    // Its head was due since it was accepted.
                    this.phase.0.phase.store(HEAD, Ordering::SeqCst);
                }
                match this.read_deadline() {
                    Some(at) if overdue(&mut this.reading, at, &this.clock, context) => {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    Some(_) => {}
                    // What may last for hours keeps no timer.
                    None if matches!(this.phase.current(), STREAM | PARKING | PARKED) => this.reading = None,
                    None => {}
                }
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Timed<S> {
    fn progressed<T>(&mut self, poll: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.writing = None;
            return poll;
        }
        let deadline = self.writing.as_ref().map_or_else(|| self.clock.elapsed() + WRITE_STALL_MAX, |alarm| alarm.at);
        if overdue(&mut self.writing, deadline, &self.clock, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.progressed(poll, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        this.progressed(poll, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(context);
        if matches!(poll, Poll::Ready(Ok(()))) {
            // hyper flushes when it has written all that it has: the reply is out.
            match this.phase.current() {
                REPLYING => {
                    this.phase.enter(IDLE, &this.clock);
                    // hyper may have asked for the next request while this reply was not out, when nothing was due, and
                    // does not ask again before it is woken.
                    if let Some(at) = this.read_deadline() {
                        let _ = overdue(&mut this.reading, at, &this.clock, context);
                    }
                }
                PARKING => this.phase.enter(PARKED, &this.clock),
                _ => {}
            }
        }
        this.progressed(poll, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            let poll = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.progressed(poll, context))?;
            this.lingering = Some(Linger { until: this.clock.elapsed() + LINGER_MAX, bytes_left: LINGER_BYTES_MAX });
        }
        this.poll_linger(context).map(Ok)
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// Reads until the peer has closed too. Closing a socket with bytes unread resets it, and the peer may then never see the
    /// reply that told it why.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(linger) = &mut self.lingering else { return Poll::Ready(()) };
        let mut space = [0; 4_096];
        while linger.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    linger.bytes_left = linger.bytes_left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if overdue(&mut self.reading, linger.until, &self.clock, context) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

const HEAD: u8 = 0;
const BUSY: u8 = 1;
const REPLYING: u8 = 2;
const IDLE: u8 = 3;
const STREAM: u8 = 4;
const PARKING: u8 = 5;
const PARKED: u8 = 6;
/// Accepted, and not looked at yet: a request may lie there.
const NEW: u8 = 7;
/// A peer that takes nothing for so long is gone.
const WRITE_STALL_MAX: Duration = Duration::from_secs(15);
/// How long a closed connection waits for its peer to close too.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// What it reads meanwhile: the rest of the largest request and some more.
const LINGER_BYTES_MAX: usize = 262_144;

#[cfg(test)]
mod tests;
