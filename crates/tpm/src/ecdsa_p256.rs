//! The one kind of key that is made or loaded here: ECDSA on P-256 over SHA-256.

use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    EccScheme, HashScheme, KeyDerivationFunctionScheme, PublicEccParameters,
    PublicEccParametersBuilder,
};

/// Parameters of a signing key; a restricted one signs nothing but what the TPM itself made.
///
/// # Source
///
/// TPM 2.0 Library, part 2, "TPMS_ECC_PARMS".
pub(crate) fn parameters(is_restricted: bool) -> tss_esapi::Result<PublicEccParameters> {
    PublicEccParametersBuilder::new()
        .with_ecc_scheme(EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)))
        .with_curve(EccCurve::NistP256)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .with_is_signing_key(true)
        .with_restricted(is_restricted)
        .build()
}
