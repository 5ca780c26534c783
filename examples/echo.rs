//! A bot that sends back whatever it is sent: `cargo run --example echo -- PROFILE [RELAY]`.
//!
//! The first run makes an account at RELAY and prints its words; every run prints a link that lets one person write to it.

use restante::client::{Client, Error, Options, Origin, What};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let profile = args.first().map_or("echo-profile", String::as_str).as_ref();
    let mut bot = match args.get(1) {
        None => Client::open(profile).await?,
        Some(relay) => {
            let (bot, words) = Client::init(profile, Options::new(Origin::parse(relay)?)).await?;
            eprintln!("the account's words, shown once: {words}");
            bot
        }
    };
    println!("{}", bot.invite(None).await?);
    loop {
        for event in bot.receive(25).await? {
            if let What::Text { from, text, .. } = &event.what {
                match bot.send(from, text).await {
                    Ok(_) => eprintln!("answered {from}"),
                    Err(error) => eprintln!("could not answer {from}: {error}"),
                }
            }
            bot.shown(&event).await?;
        }
    }
}
