//! A program that wants to lie: root on the host, with the agent's key files and the whole TPM.
//!
//! It speaks to the TPM in raw bytes and shares no code with the product, so that nothing the
//! product refuses to do keeps it from trying.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis_tests::swtpm::Swtpm;
use sha2::{Digest, Sha256};

const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;
/// The parent of the verdict key: ECC P-256, restricted decryption, no unique part.
const STORAGE_KEY: &str = "0023000b00030472000000060080004300100003001000000000";
const KEYS: &str = "/var/lib/portcullis/keys";

/// The TPM's response code.
pub(crate) type Refused = u32;

pub(crate) struct Liar<'a> {
    tpm: &'a Swtpm,
}

/// A TPM2B.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap();
    [&size.to_be_bytes(), bytes].concat()
}

/// The area of one authorisation without secrets: by password, or by a policy session.
fn authorisation(session: u32) -> Vec<u8> {
    let area = [&session.to_be_bytes()[..], &[0, 0], &[1], &[0, 0]].concat();
    [&9_u32.to_be_bytes()[..], &area].concat()
}

/// TPML_PCR_SELECTION of SHA-256.
fn selection(pcrs: &[u32]) -> Vec<u8> {
    let bits = pcrs.iter().fold(0_u32, |bits, pcr| bits | 1 << pcr);
    [&[0, 0, 0, 1, 0, 0x0b, 3][..], &bits.to_le_bytes()[..3]].concat()
}

fn handle_of(answer: &[u8]) -> u32 {
    u32::from_be_bytes(answer[..4].try_into().unwrap())
}

/// TPMT_PUBLIC of a P-256 key that only verifies ECDSA.
pub(crate) fn verifying_key(x: &[u8; 32], y: &[u8; 32]) -> Vec<u8> {
    let head = "0023000b00040040000000100018000b00030010";
    let head = portcullis_attestation::hex::decode(head).unwrap();
    [head, sized(x), sized(y)].concat()
}

// === impl Liar ===

impl<'a> Liar<'a> {
    pub(crate) fn new(tpm: &'a Swtpm) -> Self {
        Self { tpm }
    }

    /// Runs a command; `authorised` is the session for its first handle.
    fn run(
        &self,
        code: u32,
        handles: &[u32],
        authorised: Option<u32>,
        parameters: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        let tag: u16 = if authorised.is_some() { 0x8002 } else { 0x8001 };
        let handles: Vec<u8> = handles.iter().flat_map(|one| one.to_be_bytes()).collect();
        let area = authorised.map(authorisation).unwrap_or_default();
        let size = 10 + handles.len() + area.len() + parameters.len();
        let size = u32::try_from(size).unwrap();
        let frame = [
            &tag.to_be_bytes()[..],
            &size.to_be_bytes(),
            &code.to_be_bytes(),
            &handles,
            &area,
            parameters,
        ]
        .concat();
        let mut stream = TcpStream::connect(("127.0.0.1", self.tpm.port())).unwrap();
        stream.write_all(&frame).unwrap();
        let mut head = [0; 10];
        stream.read_exact(&mut head).unwrap();
        let size = u32::from_be_bytes(head[2..6].try_into().unwrap());
        let mut body = vec![0; usize::try_from(size).unwrap() - head.len()];
        stream.read_exact(&mut body).unwrap();
        match u32::from_be_bytes(head[6..].try_into().unwrap()) {
            0 => Ok(body),
            refused => Err(refused),
        }
    }

    /// Loads the agent's verdict key.
    pub(crate) fn load_verdict_key(&self) -> u32 {
        let template = portcullis_attestation::hex::decode(STORAGE_KEY).unwrap();
        let creation = [
            &sized(&[0; 4])[..],
            &sized(&template),
            &[0, 0],
            &[0, 0, 0, 0],
        ]
        .concat();
        let made = self.run(0x131, &[OWNER], Some(PASSWORD), &creation);
        let parent = handle_of(&made.unwrap());
        let private = fs::read(format!("{KEYS}/verdict.private")).unwrap();
        let public = fs::read(format!("{KEYS}/verdict.public")).unwrap();
        let blobs = [sized(&private), sized(&public)].concat();
        let loaded = self.run(0x157, &[parent], Some(PASSWORD), &blobs);
        self.flush(parent);
        handle_of(&loaded.unwrap())
    }

    pub(crate) fn flush(&self, handle: u32) {
        self.run(0x165, &[], None, &handle.to_be_bytes()).unwrap();
    }

    /// Has the TPM sign with `key`.
    pub(crate) fn sign(&self, key: u32, session: u32) -> Result<(), Refused> {
        let ticket = [&[0x80, 0x24][..], &NULL.to_be_bytes(), &[0, 0]].concat();
        let parameters = [&sized(&Sha256::digest("a lie"))[..], &[0, 0x10], &ticket].concat();
        self.run(0x15d, &[key], Some(session), &parameters)
            .map(drop)
    }

    pub(crate) fn sign_by_password(&self, key: u32) -> Result<(), Refused> {
        self.sign(key, PASSWORD)
    }

    pub(crate) fn policy_session(&self) -> u32 {
        let parameters = [&sized(&[7; 16])[..], &[0, 0], &[1], &[0, 0x10], &[0, 0x0b]].concat();
        let started = self.run(0x176, &[NULL, NULL], None, &parameters);
        handle_of(&started.unwrap())
    }

    /// PolicyPCR; without `claimed` over the values that are there.
    pub(crate) fn policy_pcr(
        &self,
        session: u32,
        pcrs: &[u32],
        claimed: Option<&[u8; 32]>,
    ) -> Result<(), Refused> {
        let digest = sized(claimed.map_or(&[][..], |digest| digest));
        let parameters = [digest, selection(pcrs)].concat();
        self.run(0x17f, &[session], None, &parameters).map(drop)
    }

    pub(crate) fn policy_digest(&self, session: u32) -> [u8; 32] {
        let answer = self.run(0x189, &[session], None, &[]).unwrap();
        answer[2..].try_into().unwrap()
    }

    /// LoadExternal and VerifySignature; the ticket says that the TPM verified it.
    pub(crate) fn ticket(
        &self,
        public: &[u8],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<Vec<u8>, Refused> {
        let parameters = [&[0, 0][..], &sized(public), &OWNER.to_be_bytes()].concat();
        let loaded = self.run(0x167, &[], None, &parameters)?;
        let key = handle_of(&loaded);
        let (r, s) = signature.split_at(32);
        let signature = [&[0, 0x18, 0, 0x0b][..], &sized(r), &sized(s)].concat();
        let parameters = [sized(&Sha256::digest(message)), signature].concat();
        let verified = self.run(0x177, &[key], None, &parameters);
        self.flush(key);
        verified
    }

    /// A ticket nobody gave.
    pub(crate) fn null_ticket() -> Vec<u8> {
        [&[0x80, 0x22][..], &NULL.to_be_bytes(), &[0, 0]].concat()
    }

    pub(crate) fn policy_authorize(
        &self,
        session: u32,
        approved: &[u8; 32],
        policy_ref: &[u8],
        public: &[u8],
        ticket: &[u8],
    ) -> Result<(), Refused> {
        let name = [&[0, 0x0b][..], &Sha256::digest(public)].concat();
        let parameters = [
            &sized(approved)[..],
            &sized(policy_ref),
            &sized(&name),
            ticket,
        ]
        .concat();
        self.run(0x16a, &[session], None, &parameters).map(drop)
    }
}
