//! A tag requirement, in Kubernetes' grammar of selectors: it reads back as it is shown.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use portcullis_gate::Requirement;

fuzz_target!(|text: &str| {
    let Ok(requirement) = Requirement::parse(text) else {
        return;
    };
    let shown = requirement.to_string();
    assert_eq!(Requirement::parse(&shown).as_ref(), Ok(&requirement));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    for tags in [
        BTreeMap::new(),
        BTreeMap::from([pair("country", "DE"), pair("pool", "7")]),
    ] {
        let unmet = requirement.unmet(&tags).count();
        assert_eq!(requirement.matches(&tags), unmet == 0);
    }
});
