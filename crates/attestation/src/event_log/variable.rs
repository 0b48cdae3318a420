//! A UEFI variable as firmware measures it.

use crate::hex;
use crate::little_endian::{Cursor, TooShort};

/// Characters of a variable's name. UEFI sets no limit; the longest known has 22.
const MAX_NAME: usize = 128;

/// A UEFI variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its namespace, as the bytes of an EFI_GUID.
    pub vendor: [u8; 16],
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: &'a [u8],
}

// === impl Variable ===

impl<'a> Variable<'a> {
    /// Namespace of the UEFI specification, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
    pub const GLOBAL: [u8; 16] = [
        0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b,
        0x8c,
    ];

    /// Reads the data of an event; `None` if it is not one variable and nothing else.
    ///
    /// # Source
    ///
    /// TCG PC Client Platform Firmware Profile, "UEFI_VARIABLE_DATA".
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(data);
        let variable = Self::read(&mut cursor).ok()??;
        cursor.is_at_end().then_some(variable)
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<Option<Self>, TooShort> {
        let vendor = cursor.array("VariableName")?;
        let units = u64::from_le_bytes(cursor.array("UnicodeNameLength")?);
        let size = u64::from_le_bytes(cursor.array("VariableDataLength")?);
        let (Ok(units), Ok(size)) = (usize::try_from(units), usize::try_from(size)) else {
            return Ok(None);
        };
        if units == 0 || units > MAX_NAME {
            return Ok(None);
        }
        let name = cursor.bytes("UnicodeName", units.saturating_mul(2))?;
        let Some(name) = utf16(name) else {
            return Ok(None);
        };
        let value = cursor.bytes("VariableData", size)?;
        Ok(Some(Self {
            vendor,
            name,
            value,
        }))
    }

    /// The bytes that firmware hashes for a variable.
    #[must_use]
    pub fn to_data(vendor: [u8; 16], name: &str, value: &[u8]) -> Vec<u8> {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX).to_le_bytes();
        let mut data = vendor.to_vec();
        data.extend(length(units.len() / 2));
        data.extend(length(value.len()));
        data.extend(units);
        data.extend(value);
        data
    }

    /// `SecureBoot = 01`, or the size of a longer value.
    pub(super) fn describe(&self) -> String {
        let value = match self.value.len() {
            length @ 0..=8 if length > 0 => hex::encode(self.value),
            length => format!("{length} bytes"),
        };
        format!("{} = {value}", self.name)
    }
}

/// ASCII text in UTF-16, without a NUL at its end; `None` for anything else: two bytes of any text
/// are some letter of UTF-16.
pub(super) fn utf16(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let units = units.strip_suffix(&[[0, 0]]).unwrap_or(units);
    let text: String = units
        .iter()
        .map(|unit| match *unit {
            [letter @ b' '..=b'~', 0] => Some(char::from(letter)),
            _ => None,
        })
        .collect::<Option<_>>()?;
    (!text.is_empty()).then_some(text)
}
