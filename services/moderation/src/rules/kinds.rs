//! Which categories personal data belongs to.

use atelier_core::CategoryId;
use atelier_rules::Kind;

/// What stands in a redacted text for data of a category that a detector found; `None`: they stay.
pub(crate) fn mark_of(category: CategoryId) -> Option<&'static str> {
    match category {
        CategoryId::PersonalData => Some("PERSONAL_DATA"),
        CategoryId::PersonalDataContact => Some("CONTACT"),
        CategoryId::PersonalDataIdentity => Some("IDENTITY"),
        CategoryId::PersonalDataPayment => Some("PAYMENT"),
        CategoryId::PersonalDataNetwork => Some("NETWORK_ADDRESS"),
        CategoryId::PersonalDataName => Some("NAME"),
        CategoryId::PersonalDataAddress => Some("ADDRESS"),
        CategoryId::Secrets => Some("SECRET"),
        _ => None,
    }
}

/// The categories that personal data of a kind belong to: the part, and the whole.
pub(super) fn categories_of(kind: Kind) -> &'static [CategoryId] {
    use CategoryId::{
        PersonalData, PersonalDataContact, PersonalDataIdentity, PersonalDataNetwork, PersonalDataPayment,
        Secrets,
    };
    match kind {
        Kind::Email | Kind::Phone => &[PersonalDataContact, PersonalData],
        Kind::ResidentId | Kind::Ssn | Kind::Passport | Kind::BirthDate => {
            &[PersonalDataIdentity, PersonalData]
        }
        Kind::Bitcoin | Kind::Ethereum | Kind::Tron | Kind::Solana | Kind::Iban | Kind::Card => {
            &[PersonalDataPayment, PersonalData]
        }
        Kind::MacAddress | Kind::Ipv4 | Kind::Ipv6 => &[PersonalDataNetwork, PersonalData],
        Kind::PrivateKey
        | Kind::UrlCredentials
        | Kind::AwsKeyId
        | Kind::AwsSecretKey
        | Kind::AzureKey
        | Kind::GithubToken
        | Kind::GitlabToken
        | Kind::SlackToken
        | Kind::StripeKey
        | Kind::GoogleKey
        | Kind::HuggingFaceToken
        | Kind::NpmToken
        | Kind::PypiToken
        | Kind::ModelKey
        | Kind::Jwt
        | Kind::BearerToken
        | Kind::Password => &[Secrets],
    }
}
