//! Datagrams of RMCP (IPMI 2.0, sections 13.1 to 13.8): what a BMC can be sent, and how it answers. Pure functions.

const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;
const RMCP_PLUS: u8 = 0x06;
const SEALED_MESSAGE: u8 = 0xc0;
const NEXT_HEADER: u8 = 0x07;

/// RMCP version 1.0, reserved, no acknowledge; the class follows.
const RMCP: [u8; 3] = [0x06, 0x00, 0xff];

/// The enterprise number of the Alerting Standards Forum.
const ASF: [u8; 4] = [0x00, 0x00, 0x11, 0xbe];
const PRESENCE_PING: u8 = 0x80;
const PRESENCE_PONG: u8 = 0x40;

/// Payload types (table 13-16).
pub(super) const MESSAGE: u8 = 0x00;
pub(super) const OPEN_SESSION_REQUEST: u8 = 0x10;
pub(super) const OPEN_SESSION_RESPONSE: u8 = 0x11;
pub(super) const RAKP_1: u8 = 0x12;
pub(super) const RAKP_2: u8 = 0x13;
pub(super) const RAKP_3: u8 = 0x14;
pub(super) const RAKP_4: u8 = 0x15;

/// What a datagram is, by its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Datagram<'a> {
    /// ASF presence ping.
    Ping { tag: u8 },
    /// A message outside of any session, in the older format.
    Old { message: &'a [u8] },
    /// Handshake, or a message outside of any session.
    Plain { payload: u8, body: &'a [u8] },
    /// A packet of a session, not yet checked.
    Sealed(Sealed<'a>),
}

/// A packet of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed<'a> {
    pub(super) session: u32,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
    /// All but the RMCP header: what the tag at its end is of.
    pub(super) after_rmcp: &'a [u8],
}

/// Returns what a datagram is; `None` for what no BMC answers.
pub(super) fn parse(bytes: &[u8]) -> Option<Datagram<'_>> {
    let (rmcp, rest) = bytes.split_first_chunk::<4>()?;
    match (rmcp[0], rmcp[3]) {
        (0x06, CLASS_ASF) => {
            let (header, _) = rest.split_first_chunk::<8>()?;
            (header[..4] == ASF && header[4] == PRESENCE_PING).then(|| Datagram::Ping { tag: header[5] })
        }
        (0x06, CLASS_IPMI) if rest.first() == Some(&RMCP_PLUS) => parse_plus(rest),
        (0x06, CLASS_IPMI) => {
            let (header, body) = rest.split_first_chunk::<10>()?;
            let unauthenticated = header[0] == 0 && header[5..9] == [0; 4];
            let message = body.get(..usize::from(header[9]))?;
            unauthenticated.then_some(Datagram::Old { message })
        }
        _ => None,
    }
}

fn parse_plus(after_rmcp: &[u8]) -> Option<Datagram<'_>> {
    let (header, rest) = after_rmcp.split_first_chunk::<12>()?;
    let session = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    let sequence = u32::from_le_bytes([header[6], header[7], header[8], header[9]]);
    let payload = rest.get(..usize::from(u16::from_le_bytes([header[10], header[11]])))?;
    match (header[1], session) {
        (SEALED_MESSAGE, 1..) => Some(Datagram::Sealed(Sealed { session, sequence, payload, after_rmcp })),
        (kind, 0) if kind & SEALED_MESSAGE == 0 => Some(Datagram::Plain { payload: kind, body: payload }),
        _ => None,
    }
}

/// Answers a ping: IPMI is spoken here.
pub(super) fn pong(tag: u8) -> Vec<u8> {
    let mut bytes = rmcp(CLASS_ASF);
    bytes.extend(ASF);
    bytes.extend([PRESENCE_PONG, tag, 0, 16]);
    bytes.extend(ASF);
    bytes.extend([0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Writes a message outside of any session, in the older format.
pub(super) fn old(message: &[u8]) -> Vec<u8> {
    let mut bytes = rmcp(CLASS_IPMI);
    bytes.extend([0; 9]);
    bytes.push(u8::try_from(message.len()).expect("our messages are short"));
    bytes.extend(message);
    bytes
}

/// Writes a packet of the handshake, or a message outside of any session.
pub(super) fn plain(payload: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = rmcp(CLASS_IPMI);
    bytes.extend(plus_header(payload, 0, 0, body));
    bytes.extend(body);
    bytes
}

/// Writes a packet of a session around an encrypted payload.
pub(super) fn sealed(session: u32, sequence: u32, payload: &[u8], tag: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut after_rmcp = plus_header(SEALED_MESSAGE, session, sequence, payload);
    after_rmcp.extend(payload);
    let padding = (4 - (after_rmcp.len() + 2) % 4) % 4;
    after_rmcp.extend(std::iter::repeat_n(0xff, padding));
    after_rmcp.extend([u8::try_from(padding).expect("less than four"), NEXT_HEADER]);
    let tag = tag(&after_rmcp);
    [rmcp(CLASS_IPMI), after_rmcp, tag].concat()
}

fn rmcp(class: u8) -> Vec<u8> {
    [RMCP.as_slice(), &[class]].concat()
}

fn plus_header(payload: u8, session: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut header = vec![RMCP_PLUS, payload];
    header.extend(session.to_le_bytes());
    header.extend(sequence.to_le_bytes());
    header.extend(u16::try_from(body.len()).expect("our payloads are short").to_le_bytes());
    header
}
