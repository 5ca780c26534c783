//! A TCP proxy that forwards everything, or, when told to, swallows a request that begins with some words.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// The proxy; lives as long as the test's process.
pub(crate) struct Swallow {
    address: String,
    shared: Arc<Shared>,
    swallowed: Receiver<()>,
}

struct Shared {
    words: &'static str,
    target: Mutex<String>,
    swallows: AtomicBool,
}

impl Swallow {
    /// On a port of the system's choice.
    pub(crate) fn new(words: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared { words, target: Mutex::default(), swallows: AtomicBool::new(false) });
        let (tell, swallowed) = channel();
        let proxy = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let (proxy, tell) = (Arc::clone(&proxy), tell.clone());
                std::thread::spawn(move || proxy.serve(near, &tell));
            }
        });
        Self { address, shared, swallowed }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn forward_to(&self, address: &str) {
        *self.shared.target.lock().expect("not poisoned") = address.to_string();
    }

    pub(crate) fn swallow(&self, on: bool) {
        self.shared.swallows.store(on, Ordering::SeqCst);
    }

    /// Waits until a request was swallowed.
    pub(crate) fn swallowed(&self) {
        self.swallowed.recv().expect("the proxy runs");
    }
}

impl Shared {
    fn serve(&self, mut near: TcpStream, tell: &Sender<()>) {
        let target = self.target.lock().expect("not poisoned").clone();
        let Ok(mut far) = TcpStream::connect(target) else { return };
        let (Ok(mut back), Ok(mut answers)) = (near.try_clone(), far.try_clone()) else { return };
        std::thread::spawn(move || {
            std::io::copy(&mut answers, &mut back).ok();
            back.shutdown(Shutdown::Write).ok();
        });
        let mut bytes = [0; 64 << 10];
        while let Ok(length @ 1..) = near.read(&mut bytes) {
            if self.swallows.load(Ordering::SeqCst) && bytes[..length].starts_with(self.words.as_bytes()) {
                tell.send(()).ok();
                // Held until the client is gone, as if the network had eaten it.
                while matches!(near.read(&mut bytes), Ok(1..)) {}
                break;
            }
            if far.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        far.shutdown(Shutdown::Both).ok();
    }
}
