//! A proxy before a relay that tells lies: it rewrites replies as it is told, and remembers which bodies were sent through it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::relay::TestRelay;

/// What is done to a reply: by the request's method and path, on its JSON.
type Lie = Box<dyn Fn(&str, &mut Value) + Send>;

/// The proxy; it runs for as long as its test.
#[derive(Clone, Default)]
pub(crate) struct Liar(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    lie: Option<Lie>,
    sends: Vec<Value>,
}

impl Liar {
    /// A relay, and the proxy before it; clients dial the origin.
    pub(crate) async fn before_a_relay() -> (Self, TestRelay, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let named = origin.clone();
        let relay = TestRelay::with(|config| {
            config.server.origins = vec![named];
            config.server.registration = restante::config::Registration::Open;
        })
        .await;
        let (liar, address) = (Self::default(), relay.address);
        let running = liar.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(running.clone().serve(near, address));
            }
        });
        (liar, relay, origin)
    }

    /// From now on replies are rewritten so.
    pub(crate) fn lie(&self, lie: impl Fn(&str, &mut Value) + Send + 'static) {
        self.lock().lie = Some(Box::new(lie));
    }

    /// From now on they are not.
    pub(crate) fn tell_the_truth(&self) {
        self.lock().lie = None;
    }

    /// The sends that came by since this was asked last.
    pub(crate) fn sends(&self) -> Vec<Value> {
        std::mem::take(&mut self.lock().sends)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics in here")
    }

    async fn serve(self, mut near: TcpStream, address: SocketAddr) -> Option<()> {
        let mut far = TcpStream::connect(address).await.ok()?;
        loop {
            let (head, body) = message(&mut near).await?;
            let asked: Vec<&str> = head.lines().next()?.split(' ').take(2).collect();
            let asked = asked.join(" ");
            if asked == "POST /v1/envelopes" {
                self.lock().sends.push(serde_json::from_slice(&body).ok()?);
            }
            far.write_all(head.as_bytes()).await.ok()?;
            far.write_all(&body).await.ok()?;
            let (mut head, mut body) = message(&mut far).await?;
            if let (Some(lie), Ok(mut json)) = (&self.lock().lie, serde_json::from_slice::<Value>(&body)) {
                lie(&asked, &mut json);
                let told = json.to_string().into_bytes();
                head = head.replace(&format!("content-length: {}", body.len()), &format!("content-length: {}", told.len()));
                body = told;
            }
            near.write_all(head.as_bytes()).await.ok()?;
            near.write_all(&body).await.ok()?;
        }
    }
}

/// A head in lower case as far as its names go, with its empty line, and the body that its length announces.
async fn message(from: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(Some(0), |length| length.parse().ok())?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
