//! Asset tags: what is for this TPM is written, and nothing else.

use std::path::Path;

use portcullis_attestation::tag;
use portcullis_client::AgentError;
use portcullis_client::method::Status;
use portcullis_tests::failure::Outcome;
use portcullis_tests::{in_world, needs};

use crate::host::Host;

#[test]
fn a_tag_is_written_bound_and_vouched_for() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        let document = host.tag(|_| {});
        let provisioned = host.call(&host.provision(&document)).unwrap();
        assert_eq!(provisioned.nv_index, "0x01c10110");
        let digest = portcullis_attestation::hex::encode(&tag::digest(&document));
        assert_eq!(provisioned.sha384, digest);

        let snapshot = host.snapshot().unwrap();
        assert_eq!(snapshot.tag_document.as_deref(), Some(document.as_str()));
        assert_eq!(
            snapshot.live.tag.as_ref().unwrap().contents,
            tag::digest(&document)
        );
        // The verdict pins the tag already.
        assert!(host.decides(&snapshot).is_empty());
        assert!(host.call(&Status {}).unwrap().status.tag_present);
        host.stop()
    })
}

#[test]
fn a_tag_that_is_not_for_this_tpm_reaches_neither_tpm_nor_disk() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        let other = host.tag(|tag| {
            let spki = b"another endorsement key";
            tag.subject = portcullis_attestation::ueid::Ueid::of_endorsement_key(spki);
        });
        let expired = host.tag(|tag| (tag.not_before_s, tag.expires_s) = (1, 2));
        let early = host.tag(|tag| (tag.not_before_s, tag.expires_s) = (9 << 40, 9 << 41));
        let mut forged = host.tag(|_| {});
        let last = forged.pop().unwrap();
        forged.push(if last == 'A' { 'Q' } else { 'A' });
        for (document, reason) in [
            (other, "it is for TPM"),
            (expired, "it is valid from 1 to 2"),
            (early, "it is valid from"),
            (forged, "cannot verify asset tag"),
            ("a.b.c".to_owned(), "cannot read asset tag"),
            (String::new(), "cannot read asset tag"),
        ] {
            let refused = host.call(&host.provision(&document)).unwrap_err();
            let AgentError::TagRefused { reason: found } = refused else {
                panic!("{refused}")
            };
            assert!(found.contains(reason), "{found}");
        }
        assert_eq!(host.snapshot().unwrap().live.tag, None);
        assert!(!Path::new("/var/lib/portcullis/tag.jws").exists());
        host.stop()
    })
}
