//! A proxy before the relay, as an operator would have one: it says whom it asks for (`X-Forwarded-For`), and writes down
//! every byte in both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy; lives as long as the test's process.
pub(crate) struct Wire {
    origin: String,
    shared: Arc<Shared>,
}

struct Shared {
    client: &'static str,
    target: Mutex<String>,
    connections: Mutex<Vec<Arc<Mutex<Spoken>>>>,
}

/// What was said on one connection.
#[derive(Default, Clone)]
pub(crate) struct Spoken {
    pub(crate) asked: Vec<u8>,
    pub(crate) answered: Vec<u8>,
}

impl Wire {
    /// On a port of the system's choice, for clients of this address.
    pub(crate) fn new(client: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared { client, target: Mutex::default(), connections: Mutex::default() });
        let proxy = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let proxy = Arc::clone(&proxy);
                std::thread::spawn(move || proxy.serve(near));
            }
        });
        Self { origin, shared }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn forward_to(&self, address: &str) {
        *self.shared.target.lock().expect("not poisoned") = address.to_string();
    }

    /// All that was said so far.
    pub(crate) fn spoken(&self) -> Vec<Spoken> {
        let connections = self.shared.connections.lock().expect("not poisoned");
        connections.iter().map(|spoken| spoken.lock().expect("not poisoned").clone()).collect()
    }
}

impl Shared {
    fn serve(&self, mut near: TcpStream) {
        let target = self.target.lock().expect("not poisoned").clone();
        let Ok(mut far) = TcpStream::connect(target) else { return };
        let (Ok(mut back), Ok(mut answers)) = (near.try_clone(), far.try_clone()) else { return };
        let spoken = Arc::new(Mutex::new(Spoken::default()));
        self.connections.lock().expect("not poisoned").push(Arc::clone(&spoken));
        let answered = Arc::clone(&spoken);
        std::thread::spawn(move || {
            let mut bytes = [0; 64 << 10];
            while let Ok(length @ 1..) = answers.read(&mut bytes) {
                answered.lock().expect("not poisoned").answered.extend_from_slice(&bytes[..length]);
                if back.write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
            back.shutdown(Shutdown::Write).ok();
        });
        let mut bytes = [0; 64 << 10];
        while let Ok(length @ 1..) = near.read(&mut bytes) {
            spoken.lock().expect("not poisoned").asked.extend_from_slice(&bytes[..length]);
            if far.write_all(&self.introduced(&bytes[..length])).is_err() {
                break;
            }
        }
        far.shutdown(Shutdown::Write).ok();
    }

    /// With the client's address, where a request begins: a client writes a head in one piece.
    fn introduced(&self, bytes: &[u8]) -> Vec<u8> {
        let line = bytes.windows(2).position(|pair| pair == b"\r\n").filter(|end| bytes[..*end].ends_with(b" HTTP/1.1"));
        let Some(end) = line else { return bytes.to_vec() };
        let header = format!("\r\nX-Forwarded-For: {}", self.client);
        [&bytes[..end], header.as_bytes(), &bytes[end..]].concat()
    }
}
