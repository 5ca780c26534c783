//! The second factor, as its owner handles it: turned on in two steps, turned off, and a session elevated by a code.
//!
//! Codes are an authenticator's business; nothing here can make one, and nothing of it is kept in the profile.

use reqwest::Method;

use super::Client;
use super::error::Result;
use super::link::escape;
use crate::protocol::factor::{CodeRequest, ConfirmReply, ElevateReply, RemoveReply, TotpRequest, TotpSecret, TotpSecretReply};

/// What an authenticator is told, once.
#[derive(Debug, Clone)]
pub struct TotpSetup {
    secret: TotpSecret,
    label: String,
    /// Until when a code of it turns the second factor on.
    pub expires_at: u64,
}

impl TotpSetup {
    /// The secret in base32, as people type it.
    pub fn secret(&self) -> String {
        self.secret.base32()
    }

    /// The same for a camera: an `otpauth:` URI.
    pub fn uri(&self) -> String {
        let (label, secret) = (escape(&self.label), self.secret.base32());
        format!("otpauth://totp/restante:{label}?secret={secret}&issuer=restante&algorithm=SHA1&digits=6&period=30")
    }
}

impl Client {
    /// A fresh secret; nothing is on before a code of it is given to [`confirm_totp`](Self::confirm_totp).
    pub async fn generate_totp(&mut self) -> Result<TotpSetup> {
        let _lock = self.enter().await?;
        let reply: TotpSecretReply = self.authed(Method::POST, "/v1/totp/generate", Some(&TotpRequest {})).await?;
        let account = self.state.account.encode();
        let name = self.state.name.as_deref().unwrap_or(&account[..8]);
        let host = self.http.origin().as_str().split_once("://").map_or("this machine", |(_, host)| host);
        // A colon would end the issuer's name.
        let label = format!("{name} at {}", host.rsplit_once(':').map_or(host, |(host, _)| host)).replace(':', " ");
        Ok(TotpSetup { secret: reply.secret, label, expires_at: reply.expires_at })
    }

    /// Turns the second factor on, with a code of the secret generated last, and gives its recovery codes. Elevates.
    pub async fn confirm_totp(&mut self, code: &str) -> Result<Vec<String>> {
        let _lock = self.enter().await?;
        let request = CodeRequest { code: code.into() };
        let reply: ConfirmReply = self.authed(Method::POST, "/v1/totp/confirm", Some(&request)).await?;
        Ok(reply.recovery_codes)
    }

    /// Turns the second factor off; false where it was off.
    pub async fn remove_totp(&mut self) -> Result<bool> {
        let _lock = self.enter().await?;
        let reply: RemoveReply = self.authed(Method::POST, "/v1/totp/remove", Some(&TotpRequest {})).await?;
        Ok(reply.removed)
    }

    /// Elevates this client's session, by an authenticator's code or a recovery code, and gives until when. What was refused
    /// with [`ElevationNeeded`](crate::protocol::ErrorCode::ElevationNeeded) can be asked again until then.
    pub async fn elevate(&mut self, code: &str) -> Result<u64> {
        let _lock = self.enter().await?;
        let request = CodeRequest { code: code.into() };
        let reply: ElevateReply = self.authed(Method::POST, "/v1/session/elevate", Some(&request)).await?;
        Ok(reply.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authenticator_reads_the_uri() {
        let setup = TotpSetup { secret: TotpSecret(*b"12345678901234567890"), label: "Zoë at [::1]".into(), expires_at: 0 };
        assert_eq!(
            setup.uri(),
            "otpauth://totp/restante:Zo%C3%AB%20at%20%5B%3A%3A1%5D?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=restante\
             &algorithm=SHA1&digits=6&period=30"
        );
        assert!(!format!("{setup:?}").contains("GEZD"));
    }
}
