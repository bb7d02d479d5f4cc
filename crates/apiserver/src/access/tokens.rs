//! Tokens of ServiceAccounts: JWTs signed by this server (KEP-1205, `pkg/serviceaccount/claims.go`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Who issues tokens, and the audience of those that are for this server.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Who issues tokens that are kept in Secrets and do not expire.
pub(crate) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// What a token says.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Claims {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) aud: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<i64>,
    pub(crate) iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<String>,
    #[serde(rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    pub(crate) bound: Option<Bound>,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", skip_serializing_if = "Option::is_none")]
    pub(crate) legacy_namespace: Option<String>,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", skip_serializing_if = "Option::is_none")]
    pub(crate) legacy_secret: Option<String>,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.name",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) legacy_name: Option<String>,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.uid",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) legacy_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<i64>,
    pub(crate) sub: String,
}

/// The objects that a token is good for as long as.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
}

/// An object by its name and uid.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
}

/// Why the key of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// It is no private key.
    #[error("the key of tokens cannot be read")]
    Unreadable(#[from] rcgen::Error),
    /// It is one of another sort.
    #[error("the key of tokens is not one of the curve P-256")]
    NotP256,
    /// It cannot sign.
    #[error("the key of tokens cannot be used")]
    Unusable(#[from] jsonwebtoken::errors::Error),
}

/// Signs and checks tokens.
pub(crate) struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    /// Name of the key: the digest of its public half.
    id: String,
    /// Coordinates of the public half, in base64.
    point: [String; 2],
}

impl Tokens {
    /// With a key of the curve P-256 as PEM (PKCS #8).
    ///
    /// # Errors
    /// When the text is something else.
    pub(crate) fn new(pem: &str) -> Result<Self, TokenKeyError> {
        let key = KeyPair::from_pem(pem)?;
        // An uncompressed point: 4 and the two coordinates (SEC 1, 2.3.3).
        let &[4, ref coordinates @ ..] = key.public_key_raw() else { return Err(TokenKeyError::NotP256) };
        if coordinates.len() != 64 {
            return Err(TokenKeyError::NotP256);
        }
        let (x, y) = coordinates.split_at(32);
        let point = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        Ok(Self {
            signing: EncodingKey::from_ec_der(&key.serialize_der()),
            checking: DecodingKey::from_ec_components(&point[0], &point[1])?,
            id: URL_SAFE_NO_PAD.encode(Sha256::digest(coordinates)),
            point,
        })
    }

    /// Signs.
    ///
    /// # Errors
    /// When the key cannot sign, which it could when the server started.
    pub(crate) fn issue(&self, claims: &Claims) -> Result<String, TokenKeyError> {
        let header = Header { kid: Some(self.id.clone()), typ: None, ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, claims, &self.signing)?)
    }

    /// What a token says, when it is ours, for one of the audiences, and of now.
    pub(crate) fn check(&self, token: &str, audiences: &[String]) -> Option<Claims> {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.leeway = 0;
        rules.validate_nbf = true;
        // Audiences are compared below: tokens of Secrets have none.
        rules.validate_aud = false;
        rules.set_required_spec_claims::<&str>(&[]);
        rules.set_issuer(&[ISSUER, LEGACY_ISSUER]);
        let claims = jsonwebtoken::decode::<Claims>(token, &self.checking, &rules).ok()?.claims;
        let good = if claims.iss == ISSUER {
            claims.exp.is_some() && claims.aud.iter().any(|own| audiences.contains(own))
        } else {
            audiences.iter().any(|audience| audience == ISSUER)
        };
        good.then_some(claims)
    }

    /// The document `/.well-known/openid-configuration`.
    pub(crate) fn discovery() -> Value {
        json!({
            "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The document `/openid/v1/jwks` (RFC 7517).
    pub(crate) fn keys(&self) -> Value {
        let [x, y] = &self.point;
        json!({"keys": [
            {"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(&KeyPair::generate().unwrap().serialize_pem()).unwrap()
    }

    fn claims(exp: i64) -> Claims {
        let now = Timestamp::now().as_second();
        let aud = vec![ISSUER.to_owned(), "vault".to_owned()];
        let (iss, sub) = (ISSUER.to_owned(), "system:serviceaccount:a:b".to_owned());
        Claims { aud, exp: Some(now + exp), nbf: Some(now), iss, sub, ..Claims::default() }
    }

    #[test]
    fn a_token_is_good_here_for_its_audience_and_its_time() {
        let ours = tokens();
        let own = [ISSUER.to_owned()];
        let token = ours.issue(&claims(600)).unwrap();
        assert_eq!(ours.check(&token, &own).unwrap().sub, "system:serviceaccount:a:b");
        assert!(ours.check(&token, &["vault".to_owned()]).is_some());
        assert_eq!(ours.check(&token, &["other".to_owned()]), None);
        assert_eq!(tokens().check(&token, &own), None, "another key");
        let late = ours.issue(&claims(-5)).unwrap();
        assert_eq!(ours.check(&late, &own), None);
        let endless = ours.issue(&Claims { exp: None, ..claims(0) }).unwrap();
        assert_eq!(ours.check(&endless, &own), None);
        let foreign = ours.issue(&Claims { iss: "https://elsewhere".to_owned(), ..claims(600) }).unwrap();
        assert_eq!(ours.check(&foreign, &own), None);
        for broken in ["", "a.b.c", &token[..token.len() - 2], "eyJhbGciOiJub25lIn0.e30."] {
            assert_eq!(ours.check(broken, &own), None, "{broken}");
        }
    }

    #[test]
    fn other_keys_are_refused() {
        assert!(Tokens::new("nonsense").is_err());
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        assert!(matches!(Tokens::new(&other), Err(TokenKeyError::NotP256)));
    }
}
