//! Sending and acknowledging; receiving is `stream`'s.

use super::auth::Session;
use super::error::no_such_token;
use super::rates::{Counted, Prefix};
use super::{Error, Relay, Result};
use crate::protocol::envelopes::{AckReply, AckRequest, KNOCK_BODY_BYTES, SendReply, SendRequest, wrap_plaintext};
use crate::protocol::stream::LiveEnvelope;
use crate::protocol::time::{WEEK, envelope_expiry};
use crate::protocol::tokens::{TokenKind, once_tag, repeat_tag};
use crate::protocol::{Bytes, DeviceId, ErrorCode, PaddedBody, Seq, TokenHash};
use crate::store::{Acked, Enqueue, Enqueued, NewEnvelope, Route};

impl Relay {
    /// Stores a sealed message for every device of an account. The reply says nothing of whether anybody listens, or had
    /// it before.
    pub async fn send(&self, request: SendRequest, prefix: Option<Prefix>) -> Result<SendReply> {
        if self.inner.stopping.is_cancelled() {
            return Err(Error::refused(ErrorCode::Stopping, "the relay is stopping; send again, with the same id"));
        }
        let send = self.checked(request)?;
        let route = self.inner.store.route(send.token, send.now).await?.ok_or_else(no_such_token)?;
        self.rate_token(&send.token)?;
        if !send.is_for(&route) {
            return Err(self.list_changed(&route).await?);
        }
        if route.kind == TokenKind::Knock {
            send.check_knock()?;
            self.rate(prefix, Counted::Knock)?;
        }
        let reply = |full| SendReply { expires_at: send.expires_at, full };
        if send.live {
            self.offer(&send, &route)?;
            return Ok(reply(Vec::new()));
        }
        if !self.has_room() {
            return Err(Error::refused(ErrorCode::RelayFull, "the relay's disk is full; send again later, with the same id"));
        }
        let (envelopes, mut unseen) = self.wrapped(&send, &route)?;
        if envelopes.is_empty() {
            return Err(Error::MailboxFull);
        }
        let Send { token, repeat_tag, once_tag, list, now, .. } = send;
        let enqueue = Enqueue { token, repeat_tag, once_tag, list, envelopes, now };
        match self.inner.store.enqueue(enqueue).await? {
            Enqueued::Queued { full } => {
                unseen.extend(full);
                unseen.sort_unstable();
                Ok(reply(unseen))
            }
            Enqueued::AllFull => Err(Error::MailboxFull),
            Enqueued::NoSuchToken => Err(no_such_token()),
            Enqueued::ListChanged => {
                let route = self.inner.store.route(send.token, send.now).await?.ok_or_else(no_such_token)?;
                Err(self.list_changed(&route).await?)
            }
        }
    }

    /// Lays a live envelope before the streams that are open. Every device's is wrapped, listening or not: the sender must
    /// not be able to tell.
    fn offer(&self, send: &Send, route: &Route) -> Result<()> {
        let (envelopes, _) = self.wrapped(send, route)?;
        if route.kind == TokenKind::Once {
            return Ok(());
        }
        for NewEnvelope { device, expires_at, wrap, body } in envelopes {
            let envelope = LiveEnvelope { expires_at, wrap: Bytes(wrap), body: Bytes(body) };
            if self.inner.live.offer(&device, envelope) {
                self.inner.wakeups.wake(&[device]);
            }
        }
        Ok(())
    }

    /// Forgets what the session's device has safe, and tells its stream, whose window opens by it.
    pub async fn ack_beside_stream(&self, session: &Session, request: AckRequest) -> Result<AckReply> {
        if !self.inner.live.is_open(&session.device) {
            return self.ack(session, request).await;
        }
        let (relay, session) = (self.clone(), session.clone());
        // A task of its own: a caller that hangs up must not end it between the commit and the wake-up.
        let acked = tokio::spawn(async move {
            let reply = relay.ack(&session, request).await;
            relay.inner.wakeups.wake(&[session.device]);
            reply
        });
        acked.await.unwrap_or_else(|_| Err(Error::refused(ErrorCode::Internal, "the acknowledgement broke off")))
    }

    /// Forgets what the session's device has safe.
    pub async fn ack(&self, session: &Session, request: AckRequest) -> Result<AckReply> {
        let seqs = request.seqs.unwrap_or_default();
        if seqs.is_empty() && request.through.is_none() {
            return Err(Error::refused(ErrorCode::BadRequest, "expected `seqs`, `through` or both"));
        }
        if seqs.len() as u64 > self.limits().ack_seqs_max {
            return Err(Error::refused(ErrorCode::TooMany, format!("$.seqs holds at most {}", self.limits().ack_seqs_max)));
        }
        let not_given = || {
            Error::refused(ErrorCode::SeqNotGiven, "no envelope of this mailbox was given a seq as high; nothing was removed")
        };
        if seqs.iter().chain(&request.through).any(|seq| *seq >= Seq(crate::protocol::envelopes::SEQ_END)) {
            return Err(not_given());
        }
        match self.inner.store.ack(session.device, seqs, request.through, self.now()).await? {
            Acked::Removed(removed) => Ok(AckReply { removed }),
            Acked::SeqNotGiven => Err(not_given()),
        }
    }

    /// What can be said of a send before anything is looked up.
    fn checked(&self, request: SendRequest) -> Result<Send> {
        let limits = self.limits();
        if request.sealed.len() as u64 > limits.devices_max {
            return Err(Error::refused(ErrorCode::TooMany, format!("$.sealed holds at most {}", limits.devices_max)));
        }
        let retention = self.inner.settings.retention_secs;
        let expires_in = request.expires_in.unwrap_or(retention);
        if expires_in < limits.expires_in_secs_min || expires_in > retention {
            let detail = format!("$.expires_in is from {} to {retention} seconds", limits.expires_in_secs_min);
            return Err(Error::refused(ErrorCode::BadExpiry, detail));
        }
        let bad_size =
            || Error::refused(ErrorCode::BadSize, "$.sealed[*].body is 1024, 4096 or 16384 bytes, all of one request alike");
        let sealed: Vec<(DeviceId, PaddedBody)> = request
            .sealed
            .into_iter()
            .map(|sealed| PaddedBody::new(sealed.body.0).map(|body| (sealed.device, body)).ok_or_else(bad_size))
            .collect::<Result<_>>()?;
        let first = sealed.first().ok_or_else(|| Error::refused(ErrorCode::BadRequest, "$.sealed holds one body a device"))?;
        if sealed.iter().any(|(_, body)| body.as_slice().len() != first.1.as_slice().len()) {
            return Err(bad_size());
        }
        let now = self.now();
        Ok(Send {
            token: request.token.hash(),
            repeat_tag: repeat_tag(&request.token, &request.id),
            once_tag: once_tag(&request.token, &request.id),
            id: request.id,
            list: request.list,
            sealed,
            expires_at: envelope_expiry(now, expires_in, retention),
            live: request.live.unwrap_or(false),
            now,
        })
    }

    /// The envelopes as they are stored, and the devices that were not seen for too long to be sent anything.
    fn wrapped(&self, send: &Send, route: &Route) -> Result<(Vec<NewEnvelope>, Vec<DeviceId>)> {
        let seen_since = (send.now / WEEK).saturating_sub(self.limits().device_unseen_days.div_ceil(7));
        let (mut envelopes, mut unseen) = (Vec::with_capacity(send.sealed.len()), Vec::new());
        for (device, body) in &send.sealed {
            let Some(target) = route.devices.iter().find(|target| target.device == *device) else { continue };
            if target.seen_week < seen_since {
                unseen.push(*device);
                continue;
            }
            let plaintext = wrap_plaintext(route.kind, &send.token, &send.id, body.as_slice());
            let (wrap, body) = self
                .wrap(device, &target.sealing_key, send.expires_at, &plaintext)
                .ok_or_else(|| Error::refused(ErrorCode::Internal, "a device's sealing key cannot be used"))?;
            envelopes.push(NewEnvelope { device: *device, expires_at: send.expires_at, wrap, body });
        }
        Ok((envelopes, unseen))
    }

    async fn list_changed(&self, route: &Route) -> Result<Error> {
        let keys = self.inner.store.prekeys(route.account, self.now()).await?;
        Ok(keys.map_or_else(no_such_token, |(current, _)| Error::DeviceListChanged(current)))
    }
}

/// A send whose form is right.
struct Send {
    token: TokenHash,
    repeat_tag: [u8; 16],
    once_tag: [u8; 16],
    id: crate::protocol::EnvelopeId,
    list: crate::protocol::envelopes::ListName,
    sealed: Vec<(DeviceId, PaddedBody)>,
    expires_at: u64,
    live: bool,
    now: u64,
}

impl Send {
    /// A knock is never live, and of one size.
    fn check_knock(&self) -> Result<()> {
        if self.live {
            return Err(Error::refused(ErrorCode::BadRequest, "$.live: a `knock` token takes no live envelopes"));
        }
        if self.sealed.iter().any(|(_, body)| body.as_slice().len() != KNOCK_BODY_BYTES) {
            return Err(Error::refused(ErrorCode::BadSize, "$.sealed[*].body is 4096 bytes, by a `knock` token"));
        }
        Ok(())
    }

    /// Whether it names the account's current list and covers exactly its devices.
    fn is_for(&self, route: &Route) -> bool {
        let mut named: Vec<DeviceId> = self.sealed.iter().map(|(device, _)| *device).collect();
        named.sort_unstable();
        self.list == route.list && named.iter().eq(route.devices.iter().map(|target| &target.device))
    }
}
