//! Reading DER, as far as certificates need it: one element after the other, never beyond the end
//! of the one it is in.
//!
//! # Source
//!
//! ITU-T X.690, 8.1 and 10.1: tags of one byte, definite lengths, each in its shortest form.

/// Bytes not read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Der<'a> {
    rest: &'a [u8],
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// The identifier, with class and form.
    pub(crate) tag: u8,
    /// The contents.
    pub(crate) contents: &'a [u8],
    /// The whole encoding.
    pub(crate) whole: &'a [u8],
}

/// Universal and context tags that certificates use.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8: u8 = 0x0c;
    pub(crate) const PRINTABLE: u8 = 0x13;
    pub(crate) const IA5: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const VERSION: u8 = 0xa0;
    pub(crate) const EXTENSIONS: u8 = 0xa3;
}

/// Why bytes are not what a certificate holds there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {what}")]
pub(crate) struct DerError {
    /// The part of the certificate.
    pub(crate) what: &'static str,
}

// === impl Der ===

impl<'a> Der<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, of tag `tag`.
    pub(crate) fn expect(&mut self, tag: u8, what: &'static str) -> Result<Element<'a>, DerError> {
        self.next(what).and_then(|element| {
            let fits = element.tag == tag;
            fits.then_some(element).ok_or(DerError { what })
        })
    }

    /// The next element, if it is of tag `tag`.
    pub(crate) fn optional(
        &mut self,
        tag: u8,
        what: &'static str,
    ) -> Result<Option<Element<'a>>, DerError> {
        match self.rest.first() {
            Some(found) if *found == tag => self.next(what).map(Some),
            _ => Ok(None),
        }
    }

    /// The next element, whatever it is.
    pub(crate) fn next(&mut self, what: &'static str) -> Result<Element<'a>, DerError> {
        self.read().ok_or(DerError { what })
    }

    /// Fails if something is left.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), DerError> {
        self.is_empty().then_some(()).ok_or(DerError { what })
    }

    fn read(&mut self) -> Option<Element<'a>> {
        let (tag, rest) = self.rest.split_first()?;
        // Tags of more bytes do not occur in certificates.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if length >= 0x80 {
            let (bytes, after) = rest.split_at_checked(length & 0x7f)?;
            let shortest = bytes.first().is_some_and(|byte| *byte != 0) && bytes.len() <= 3;
            length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
            if !shortest || length < 0x80 {
                return None;
            }
        }
        let (contents, after) = rest.split_at_checked(length)?;
        let (whole, _) = self.rest.split_at_checked(self.rest.len() - after.len())?;
        self.rest = after;
        Some(Element {
            tag: *tag,
            contents,
            whole,
        })
    }
}

impl<'a> Element<'a> {
    /// What is inside.
    pub(crate) const fn inside(&self) -> Der<'a> {
        Der::new(self.contents)
    }

    /// The text, of one of the string types that names use.
    pub(crate) fn text(&self) -> Option<&'a str> {
        let is_text = matches!(self.tag, tag::UTF8 | tag::PRINTABLE | tag::IA5);
        is_text
            .then(|| str::from_utf8(self.contents).ok())
            .flatten()
    }

    /// The magnitude of an INTEGER that is not negative, without leading zeros.
    pub(crate) fn unsigned(&self) -> Option<&'a [u8]> {
        match self.contents {
            _ if self.tag != tag::INTEGER => None,
            [0] => Some(self.contents),
            // A zero in front is there only where the number would look negative without it.
            [0, rest @ ..] => (rest.first())
                .is_some_and(|byte| byte & 0x80 != 0)
                .then_some(rest),
            [first, ..] if first & 0x80 == 0 => Some(self.contents),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_short_and_long_lengths() {
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        let both = [&[0x02, 0x01, 0x05][..], &long].concat();
        let mut der = Der::new(&both);
        let first = der.next("first").unwrap();
        assert_eq!(
            (first.tag, first.unsigned()),
            (tag::INTEGER, Some(&[5][..]))
        );
        let second = der.expect(tag::OCTET_STRING, "second").unwrap();
        assert_eq!((second.contents.len(), second.whole), (256, &long[..]));
        assert_eq!(der.end("end"), Ok(()));
        der.next("third").unwrap_err();
    }

    #[test]
    fn refuses_what_is_not_der() {
        for bytes in [
            &[0x30][..],
            &[0x30, 0x80],                         // indefinite
            &[0x30, 0x80, 0, 0],                   // indefinite, ended
            &[0x30, 0x81, 0x01, 0],                // longer than need be
            &[0x30, 0x82, 0x00, 0x80],             // leading zero
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], // beyond everything
            &[0x30, 0x02, 0],                      // cut
            &[0x3f, 0x81, 0x01, 0],                // a long tag
        ] {
            assert!(Der::new(bytes).next("x").is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn numbers_are_not_negative() {
        let number = |contents| Element {
            tag: tag::INTEGER,
            contents,
            whole: contents,
        };
        assert_eq!(number(&[0, 0x80]).unsigned(), Some(&[0x80][..]));
        for contents in [&[][..], &[0x80], &[0, 1, 2][..1], &[0, 0x7f]] {
            let expected = (contents == [0]).then_some(contents);
            assert_eq!(number(contents).unsigned(), expected, "{contents:?}");
        }
    }
}
