//! A TCP proxy that forwards everything and writes down the first line of every request, and how many connections came.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy; lives as long as the test's process.
pub(crate) struct Recorder {
    origin: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: Mutex<String>,
    seen: Mutex<Seen>,
}

/// What came through.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) requests: Vec<String>,
}

impl Recorder {
    /// On a port of the system's choice.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared::default());
        let proxy = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let proxy = Arc::clone(&proxy);
                std::thread::spawn(move || proxy.serve(near));
            }
        });
        Self { origin, shared }
    }

    pub(crate) fn origin(&self) -> String {
        self.origin.clone()
    }

    pub(crate) fn forward_to(&self, address: &str) {
        *self.shared.target.lock().expect("not poisoned") = address.to_string();
    }

    /// What came since it was last asked.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.shared.seen.lock().expect("not poisoned"))
    }
}

impl Shared {
    fn serve(&self, mut near: TcpStream) {
        self.seen.lock().expect("not poisoned").connections += 1;
        let target = self.target.lock().expect("not poisoned").clone();
        let Ok(mut far) = TcpStream::connect(target) else { return };
        let (Ok(mut back), Ok(mut answers)) = (near.try_clone(), far.try_clone()) else { return };
        std::thread::spawn(move || {
            std::io::copy(&mut answers, &mut back).ok();
            back.shutdown(Shutdown::Write).ok();
        });
        let mut bytes = [0; 64 << 10];
        while let Ok(length @ 1..) = near.read(&mut bytes) {
            // A client writes a request's head in one piece, and no body of base64 looks like one.
            let text = String::from_utf8_lossy(&bytes[..length]);
            let lines = text.lines().filter(|line| line.ends_with(" HTTP/1.1"));
            self.seen.lock().expect("not poisoned").requests.extend(lines.map(str::to_string));
            if far.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        far.shutdown(Shutdown::Both).ok();
    }
}
