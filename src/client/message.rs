//! The end-to-end layer to the byte (`docs/protocol.md` §12): one message sealed for one device, and opened by it.
//!
//! Pure: what goes in is keys and bytes, what comes out is bytes or a reason. Who a sender is allowed to be, counters and
//! lists are the caller's business.

use zeroize::Zeroizing;

use crate::crypto::seal::{Psk, Sealer, open as open_seal, open_with_psk};
use crate::crypto::{exchange, random, sign, wrap};
use crate::protocol::envelopes::{
    BODY_SIZES, Envelope, KNOCK_BODY_BYTES, SEAL_OVERHEAD, WRAP_LENGTH, WRAP_OVERHEAD, key_id, seal_aad, seal_info,
    seal_signature_transcript, wrap_aad, wrap_info, wrap_key_context,
};
use crate::protocol::linking::link_info;
use crate::protocol::stream::LiveEnvelope;
use crate::protocol::{AccountId, DeviceId, EnvelopeId, Hash, ListHead, SealingKey, Signature, TokenHash};

/// One message, but for whom it is sealed to.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) head: ListHead,
    /// The recipient's list as the sender knows it.
    pub(crate) recipient_head: ListHead,
    pub(crate) counter: u64,
    pub(crate) sent_at: u64,
    pub(crate) reply_key: SealingKey,
    pub(crate) content: Vec<u8>,
}

/// Whom a message is sealed to.
pub(crate) struct To<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) device: &'a DeviceId,
    /// A prekey or a reply key of that device.
    pub(crate) key: &'a SealingKey,
}

/// An envelope out of its wrap: by which token it came, and the body still sealed.
#[derive(Debug)]
pub(crate) struct Unwrapped {
    pub(crate) kind: u8,
    pub(crate) token: TokenHash,
    pub(crate) id: EnvelopeId,
    pub(crate) body: Vec<u8>,
}

/// It could not be opened. Which step failed is nobody's business: all mean that it was not made for this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOpened;

/// The size of the body that a content of so many bytes takes; none when it fits in none.
pub(crate) fn body_size(content_bytes: usize) -> Option<usize> {
    BODY_SIZES.into_iter().find(|size| content_bytes + HEADER + SEAL_OVERHEAD <= *size)
}

/// The longest content, in bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = BODY_SIZES[2] - SEAL_OVERHEAD - HEADER;

/// The longest content of a knock, whose body has one size.
pub(crate) const KNOCK_CONTENT_BYTES_MAX: usize = KNOCK_BODY_BYTES - SEAL_OVERHEAD - HEADER;

/// Seals a message for one device, into a body of [`body_size`]. None for a weak key or a content that is too long.
pub(crate) fn seal(plain: &Plain, to: &To<'_>, id: &EnvelopeId, device_key: &sign::KeyPair) -> Option<Vec<u8>> {
    let size = body_size(plain.content.len())?;
    exchange::check_key(&to.key.0).ok()?;
    let sealer = Sealer::new(&to.key.0, &seal_info(to.account, to.device)).ok()?;
    let enc = sealer.enc;
    let signed = seal_signature_transcript((to.account, to.device), id, &enc, (&plain.account, &plain.device));
    let mut bytes = Zeroizing::new(Vec::with_capacity(size - SEAL_OVERHEAD));
    bytes.extend_from_slice(plain.account.as_ref());
    bytes.extend_from_slice(plain.device.as_ref());
    bytes.extend_from_slice(&plain.head.bytes());
    bytes.extend_from_slice(&plain.recipient_head.bytes());
    bytes.extend_from_slice(&plain.counter.to_be_bytes());
    bytes.extend_from_slice(&plain.sent_at.to_be_bytes());
    bytes.extend_from_slice(plain.reply_key.as_ref());
    bytes.extend_from_slice(&device_key.sign(&signed));
    bytes.extend_from_slice(&(plain.content.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&plain.content);
    bytes.resize(size - SEAL_OVERHEAD, 0);
    let key_id = key_id(to.key);
    let mut body = Vec::with_capacity(size);
    body.push(SUITE);
    body.extend_from_slice(&key_id);
    body.extend_from_slice(&enc);
    body.extend_from_slice(&sealer.seal(&bytes, &seal_aad(SUITE, key_id, id)));
    Some(body)
}

/// What has the form of a sealed body and opens for nobody.
pub(crate) fn filler(size: usize) -> Vec<u8> {
    let mut body = vec![SUITE];
    while body.len() < size {
        body.extend_from_slice(&random::bytes::<64>());
    }
    body.truncate(size);
    body
}

/// Seals what a device is given that is being linked, by the secret of its code.
pub(crate) fn seal_grant(content: &[u8], to: &To<'_>, secret: &[u8; 32], id: &EnvelopeId) -> Option<Vec<u8>> {
    exchange::check_key(&to.key.0).ok()?;
    let info = link_info(to.account, to.device);
    let sealer = Sealer::with_psk(&to.key.0, &info, &Psk { secret, id: &info }).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(GRANT_BYTES - SEAL_OVERHEAD));
    bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
    bytes.extend_from_slice(content);
    if bytes.len() > GRANT_BYTES - SEAL_OVERHEAD {
        return None;
    }
    bytes.resize(GRANT_BYTES - SEAL_OVERHEAD, 0);
    let key_id = key_id(to.key);
    let mut body = Vec::with_capacity(GRANT_BYTES);
    body.push(SUITE);
    body.extend_from_slice(&key_id);
    body.extend_from_slice(&sealer.enc);
    body.extend_from_slice(&sealer.seal(&bytes, &seal_aad(SUITE, key_id, id)));
    Some(body)
}

/// Opens what [`seal_grant`] made, with the device's sealing key and the secret of its code.
pub(crate) fn open_grant(
    body: &[u8],
    id: &EnvelopeId,
    to: (&AccountId, &DeviceId),
    sealing: &exchange::KeyPair,
    secret: &[u8; 32],
) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let key_id = sealed_to(body).ok_or(NotOpened)?;
    if key_id != self::key_id(&SealingKey(sealing.public())) || body.len() != GRANT_BYTES {
        return Err(NotOpened);
    }
    let mut reader = Reader(&body[5..]);
    let enc: [u8; 32] = reader.take()?;
    let info = link_info(to.0, to.1);
    let psk = Psk { secret, id: &info };
    let opened = open_with_psk(&psk, &sealing.secret(), &enc, &info, &seal_aad(SUITE, key_id, id), reader.0);
    let bytes = Zeroizing::new(opened.map_err(|_| NotOpened)?);
    let mut reader = Reader(&bytes);
    let length = u32::from_be_bytes(reader.take()?) as usize;
    let (content, padding) = reader.0.split_at_checked(length).ok_or(NotOpened)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(NotOpened);
    }
    Ok(Zeroizing::new(content.to_vec()))
}

/// An envelope in its wrap, stored or live.
pub(crate) struct Wrapped<'a> {
    expires_at: u64,
    wrap: &'a [u8],
    body: &'a [u8],
}

impl<'a> From<&'a Envelope> for Wrapped<'a> {
    fn from(envelope: &'a Envelope) -> Self {
        Self { expires_at: envelope.expires_at, wrap: envelope.wrap.as_slice(), body: envelope.body.as_slice() }
    }
}

impl<'a> From<&'a LiveEnvelope> for Wrapped<'a> {
    fn from(envelope: &'a LiveEnvelope) -> Self {
        Self { expires_at: envelope.expires_at, wrap: envelope.wrap.as_slice(), body: envelope.body.as_slice() }
    }
}

/// Takes the relay's wrap off.
pub(crate) fn unwrap<'a>(
    envelope: impl Into<Wrapped<'a>>,
    device: &DeviceId,
    sealing: &exchange::KeyPair,
) -> Result<Unwrapped, NotOpened> {
    let Wrapped { expires_at, wrap, body } = envelope.into();
    let whole: &[u8; WRAP_LENGTH] = wrap.try_into().map_err(|_| NotOpened)?;
    let (enc, nonce) = whole.split_first_chunk::<32>().ok_or(NotOpened)?;
    let nonce: &[u8; 12] = nonce.try_into().map_err(|_| NotOpened)?;
    let aad = wrap_aad(device, expires_at);
    if !BODY_SIZES.contains(&body.len().saturating_sub(WRAP_OVERHEAD)) {
        return Err(NotOpened);
    }
    let opened = wrap::unwrap(&sealing.secret(), enc, &wrap_info(device), &wrap_key_context(), nonce, &aad, body)
        .map_err(|_| NotOpened)?;
    let mut reader = Reader(&opened);
    Ok(Unwrapped {
        kind: reader.take::<1>()?[0],
        token: TokenHash(reader.take()?),
        id: EnvelopeId(reader.take()?),
        body: reader.0.to_vec(),
    })
}

/// The id of the key that a body is sealed to, where it is of a suite that we have.
pub(crate) fn sealed_to(body: &[u8]) -> Option<[u8; 4]> {
    let (suite, rest) = body.split_first()?;
    (*suite == SUITE).then_some(*rest.first_chunk::<4>()?)
}

/// Opens a body with the private half of the key that it names, and checks the sender's signature.
pub(crate) fn open(
    body: &[u8],
    id: &EnvelopeId,
    to: (&AccountId, &DeviceId),
    secret: &exchange::KeyPair,
) -> Result<Plain, NotOpened> {
    let key_id = sealed_to(body).ok_or(NotOpened)?;
    let mut reader = Reader(&body[5..]);
    let enc: [u8; 32] = reader.take()?;
    let opened = open_seal(&secret.secret(), &enc, &seal_info(to.0, to.1), &seal_aad(SUITE, key_id, id), reader.0);
    let bytes = Zeroizing::new(opened.map_err(|_| NotOpened)?);
    let mut reader = Reader(&bytes);
    let account = AccountId(reader.take()?);
    let device = DeviceId(reader.take()?);
    let head = reader.head()?;
    let recipient_head = reader.head()?;
    let counter = u64::from_be_bytes(reader.take()?);
    let sent_at = u64::from_be_bytes(reader.take()?);
    let reply_key = SealingKey(reader.take()?);
    let signature = Signature(reader.take()?);
    let length = u32::from_be_bytes(reader.take()?) as usize;
    let (content, padding) = reader.0.split_at_checked(length).ok_or(NotOpened)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(NotOpened);
    }
    let signed = seal_signature_transcript(to, id, &enc, (&account, &device));
    sign::verify(&device.0, &signed, &signature.0).map_err(|_| NotOpened)?;
    Ok(Plain { account, device, head, recipient_head, counter, sent_at, reply_key, content: content.to_vec() })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NotOpened> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(NotOpened)?;
        self.0 = tail;
        Ok(*head)
    }

    fn head(&mut self) -> Result<ListHead, NotOpened> {
        Ok(ListHead {
            epoch: u32::from_be_bytes(self.take()?),
            version: u64::from_be_bytes(self.take()?),
            hash: Hash(self.take()?),
        })
    }
}

/// HPKE, X25519, HKDF-SHA256, AES-256-GCM.
const SUITE: u8 = 1;
/// A grant's body.
pub(crate) const GRANT_BYTES: usize = BODY_SIZES[1];
/// Of the plaintext: ids, heads, counter, time, reply key, signature, the content's length.
const HEADER: usize = 32 + 32 + 44 + 44 + 8 + 8 + 32 + 64 + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Bytes;
    use crate::protocol::envelopes::wrap_plaintext;
    use crate::protocol::tokens::TokenKind;

    struct Case {
        plain: Plain,
        sender: sign::KeyPair,
        account: AccountId,
        device: DeviceId,
        key: exchange::KeyPair,
        id: EnvelopeId,
    }

    impl Case {
        fn new(content: Vec<u8>) -> Self {
            let sender = sign::KeyPair::generate();
            let head = ListHead { epoch: 1, version: 2, hash: Hash([3; 32]) };
            let plain = Plain {
                account: AccountId(sign::KeyPair::generate().public()),
                device: DeviceId(sender.public()),
                head,
                recipient_head: ListHead { epoch: 4, version: 5, hash: Hash([6; 32]) },
                counter: 7,
                sent_at: 8,
                reply_key: SealingKey(exchange::KeyPair::generate().public()),
                content,
            };
            Self {
                plain,
                sender,
                account: AccountId([1; 32]),
                device: DeviceId([2; 32]),
                key: exchange::KeyPair::generate(),
                id: EnvelopeId([9; 16]),
            }
        }

        fn sealed(&self) -> Option<Vec<u8>> {
            let key = SealingKey(self.key.public());
            seal(&self.plain, &To { account: &self.account, device: &self.device, key: &key }, &self.id, &self.sender)
        }

        fn open(&self, body: &[u8]) -> Result<Plain, NotOpened> {
            open(body, &self.id, (&self.account, &self.device), &self.key)
        }
    }

    #[test]
    fn what_is_sealed_opens_and_says_the_same() {
        for (length, size) in [(0, 1_024), (703, 1_024), (704, 4_096), (3_775, 4_096), (3_776, 16_384), (16_063, 16_384)] {
            let case = Case::new(vec![b'x'; length]);
            let body = case.sealed().expect("it fits");
            assert_eq!(body.len(), size, "{length}");
            assert_eq!(sealed_to(&body), Some(key_id(&SealingKey(case.key.public()))));
            let opened = case.open(&body).expect("it opens");
            assert_eq!(opened.content, case.plain.content);
            assert_eq!((opened.account, opened.device), (case.plain.account, case.plain.device));
            assert_eq!((opened.head, opened.recipient_head), (case.plain.head, case.plain.recipient_head));
            assert_eq!((opened.counter, opened.sent_at, opened.reply_key), (7, 8, case.plain.reply_key));
        }
        assert!(Case::new(vec![0; CONTENT_BYTES_MAX + 1]).sealed().is_none());
    }

    #[test]
    fn it_opens_for_its_device_id_and_sender_only() {
        let case = Case::new(b"hi".to_vec());
        let body = case.sealed().expect("it fits");
        let (other_account, other_device) = (AccountId([7; 32]), DeviceId([7; 32]));
        assert!(open(&body, &case.id, (&other_account, &case.device), &case.key).is_err());
        assert!(open(&body, &case.id, (&case.account, &other_device), &case.key).is_err());
        assert!(open(&body, &EnvelopeId([0; 16]), (&case.account, &case.device), &case.key).is_err());
        assert!(open(&body, &case.id, (&case.account, &case.device), &exchange::KeyPair::generate()).is_err());
        for at in [0, 1, 5, 40, 1_000] {
            let mut bad = body.clone();
            bad[at] ^= 1;
            assert!(case.open(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn who_signs_with_another_key_than_the_named_device_is_not_believed() {
        let mut case = Case::new(b"hi".to_vec());
        case.sender = sign::KeyPair::generate();
        let body = case.sealed().expect("it fits");
        assert!(case.open(&body).is_err());
    }

    #[test]
    fn a_weak_key_is_never_sealed_to() {
        let case = Case::new(Vec::new());
        let weak = SealingKey([0; 32]);
        assert!(
            seal(&case.plain, &To { account: &case.account, device: &case.device, key: &weak }, &case.id, &case.sender)
                .is_none()
        );
    }

    #[test]
    fn the_wrap_comes_off_for_its_device_and_expiry_only() {
        let case = Case::new(b"hi".to_vec());
        let body = case.sealed().expect("it fits");
        let sealing = exchange::KeyPair::generate();
        let key = wrap::WrapKey::new(&sealing.public(), &wrap_info(&case.device), &wrap_key_context()).expect("a good key");
        let plaintext = wrap_plaintext(TokenKind::Once, &TokenHash([5; 32]), &case.id, &body);
        let wrapped = key.wrap(&[1; 12], &wrap_aad(&case.device, 3_600), &plaintext);
        let mut wrap = key.enc.to_vec();
        wrap.extend_from_slice(&[1; 12]);
        let mut envelope =
            Envelope { seq: crate::protocol::Seq(1), expires_at: 3_600, wrap: Bytes(wrap), body: Bytes(wrapped) };
        let opened = unwrap(&envelope, &case.device, &sealing).expect("it opens");
        assert_eq!((opened.kind, opened.token, opened.id), (2, TokenHash([5; 32]), case.id));
        assert_eq!(opened.body, body);
        assert!(unwrap(&envelope, &DeviceId([8; 32]), &sealing).is_err());
        envelope.expires_at += 3_600;
        assert!(unwrap(&envelope, &case.device, &sealing).is_err());
    }
}
