//! The stream below SSH: it hears the greeting before the protocol begins, keeps limits of time, can be cut from this side,
//! and remembers that it ended. What is said over it is not looked at.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::Error;

/// A greeting is at most so long, with the lines before it.
const GREETING_LIMIT: usize = 8 * 1024;

/// Any stream.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// What is known of a stream from outside.
#[derive(Debug, Default)]
pub(crate) struct WireState {
    ended: AtomicBool,
    reason: OnceLock<String>,
    over: CancellationToken,
    cut: CancellationToken,
}

impl WireState {
    /// Whether nothing more comes.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Why it ended.
    pub(crate) fn reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_else(|| "the other side closed it".to_owned())
    }

    /// Says that and why it ended; the first reason counts.
    pub(crate) fn end(&self, reason: impl FnOnce() -> String) {
        self.reason.get_or_init(reason);
        self.ended.store(true, Ordering::Release);
        self.over.cancel();
    }

    /// Waits until nothing more comes. The library leaves whoever waits to send something waiting.
    pub(crate) fn over(&self) -> WaitForCancellationFutureOwned {
        self.over.clone().cancelled_owned()
    }
}

/// Cuts the stream when it is dropped.
#[derive(Debug)]
pub(crate) struct CutOnDrop(pub(crate) Arc<WireState>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.end(|| "it was closed from this side".to_owned());
        self.0.cut.cancel();
    }
}

/// A stream with a greeting, limits and an end.
pub(crate) struct Wire {
    inner: Box<dyn Duplex>,
    head: Vec<u8>,
    at: usize,
    state: Arc<WireState>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    limit: Option<Duration>,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// Waits for the server's greeting, which is kept for the protocol to read.
    pub(crate) async fn greeted(
        mut inner: Box<dyn Duplex>,
        address: &str,
        wait: Duration,
        limit: Option<Duration>,
    ) -> Result<Self, Error> {
        let mut head = Vec::new();
        let heard = tokio::time::timeout(wait, greeting(&mut inner, &mut head)).await;
        let said = || {
            let line = head.split(|&byte| byte == b'\n').find(|line| !line.trim_ascii().is_empty());
            let text = String::from_utf8_lossy(line.unwrap_or_default());
            text.trim().chars().filter(|c| !c.is_control()).take(80).collect::<String>()
        };
        let address = address.to_owned();
        match heard {
            Ok(Ok(true)) => {}
            _ if !said().is_empty() => return Err(Error::NotSsh { address, said: said() }),
            Ok(Ok(false) | Err(_)) => return Err(Error::ClosedEarly(address)),
            Err(_) => return Err(Error::Silent { address, waited: wait }),
        }
        let state = Arc::new(WireState::default());
        let cut = Box::pin(state.cut.clone().cancelled_owned());
        let reading = Box::pin(tokio::time::sleep(limit.unwrap_or_default()));
        Ok(Self { inner, head, at: 0, state, cut, limit, reading, writing: None })
    }

    pub(crate) fn state(&self) -> Arc<WireState> {
        self.state.clone()
    }

    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        self.state.cut.is_cancelled() || self.cut.as_mut().poll(context).is_ready()
    }

    fn slow(&self, what: &str) -> io::Error {
        let limit = self.limit.unwrap_or_default();
        self.state.end(|| format!("{what} took longer than {limit:?} (`ssh_read_write_timeout`)"));
        io::ErrorKind::TimedOut.into()
    }
}

/// A channel whose writes fail when the stream below it is over, in place of waiting.
pub(crate) struct Ending<S> {
    inner: S,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Ending<S> {
    pub(crate) fn new(inner: S, state: &WireState) -> Self {
        Self { inner, over: Box::pin(state.over()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ending<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ending<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if stream.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut stream.inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

/// Reads lines until one that begins with `SSH-`. Gives whether there is one.
async fn greeting(stream: &mut (impl AsyncRead + Unpin), head: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let mut lines = head.split_inclusive(|&byte| byte == b'\n');
        if lines.any(|line| line.starts_with(b"SSH-") && line.ends_with(b"\n")) {
            return Ok(true);
        }
        if head.len() > GREETING_LIMIT || stream.read_buf(head).await? == 0 {
            return Ok(false);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.is_cut(context) {
            return Poll::Ready(Ok(()));
        }
        if wire.at < wire.head.len() {
            let count = buffer.remaining().min(wire.head.len() - wire.at);
            buffer.put_slice(&wire.head[wire.at..wire.at + count]);
            wire.at += count;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut wire.inner).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() == before && buffer.remaining() != 0 {
                    wire.state.end(|| "the other side closed it".to_owned());
                } else if let Some(limit) = wire.limit {
                    wire.reading.as_mut().reset(Instant::now() + limit);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                wire.state.end(|| crate::error::io_reason(&error));
                Poll::Ready(Err(error))
            }
            Poll::Pending if wire.limit.is_some() => {
                ready!(wire.reading.as_mut().poll(context));
                Poll::Ready(Err(wire.slow("waiting for the server")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.is_cut(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match Pin::new(&mut wire.inner).poll_write(context, bytes) {
            Poll::Ready(done) => {
                wire.writing = None;
                if let Err(error) = &done {
                    wire.state.end(|| crate::error::io_reason(error));
                }
                Poll::Ready(done)
            }
            Poll::Pending => {
                if let Some(limit) = wire.limit {
                    let writing = wire.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                    ready!(writing.as_mut().poll(context));
                    return Poll::Ready(Err(wire.slow("sending")));
                }
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}
