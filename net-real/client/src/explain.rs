//! What went wrong with TLS, in words that say what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Puts an error of a connection into words; one that is not of TLS keeps its own.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        Some(tls) => explain_tls(tls),
        None => error.to_string(),
    }
}

fn explain_tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(_) => format!("its certificate: {}", certificate_trouble(error)),
        Error::NoCertificatesPresented => "it shows no certificate: every node and client needs \
                                           one of the cluster's CA"
            .into(),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "it does not speak TLS: turn TLS on at every node and client, or at none".into()
        }
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "it does not speak TLS 1.3, which mfsha insists on".into()
        }
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "it does not accept this program's certificate: it \
                                            trusts another CA"
                .into(),
            AlertDescription::CertificateExpired => {
                "it does not accept this program's certificate: expired, or not valid yet; look at \
                 the clocks of both"
                    .into()
            }
            AlertDescription::CertificateRequired => {
                "it wants a certificate of the cluster's CA, and this program has none".into()
            }
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError => {
                format!("it does not accept this program's certificate ({alert:?})")
            }
            other => format!("it ended TLS with the alert {other:?}"),
        },
        other => format!("TLS: {other}"),
    }
}

/// What is wrong with a certificate, and what to do.
#[must_use]
pub fn certificate_trouble(error: &Error) -> String {
    use CertificateError as C;
    let Error::InvalidCertificate(trouble) = error else {
        return error.to_string();
    };
    match trouble {
        C::Expired | C::ExpiredContext { .. } => {
            "it has expired; make a new one, or look at the clock".into()
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "it is not valid yet; look at the clocks of both".into()
        }
        C::UnknownIssuer => {
            "it is not of the CA that is trusted here; make one with that CA, with \
                             its intermediate certificates, if any, in the same file"
                .into()
        }
        C::BadSignature => "its signature is wrong: another CA of the same name, or damage".into(),
        C::NotValidForName => "it lacks the name that was expected".into(),
        C::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "it lacks the name {} (it has {}); a node's certificate has the names mfsha and \
             node-<id>.mfsha",
            expected.to_str(),
            presented.join(", ")
        ),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "it is not meant for both ends of connections; make one for serverAuth and clientAuth"
                .into()
        }
        other => other.to_string(),
    }
}
