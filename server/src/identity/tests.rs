//! C1: the vector of the rule, both kinds of proof, and every wrong one.

use super::*;
use crate::settings::SettingsInput;
use crate::store::WorkspaceId;
use backstop_domain::followup::Policy;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

const SECRET: &str = "4629de5def93d6a2abea6afa9bd5476d9c6cbc04223f9a2f7e517b535dde3e25";
const LUCAS: &str = "99427c7bba36a6902c5fd6383f2fb0214d19b81023296b4bd6b9e024836afea2";
const NOW_MS: Ms = 1_795_370_400_000;
const NOW_S: i64 = NOW_MS / 1000;

const EC_PRIVATE: &str = include_str!("../../../tests/fixtures/jwt/ec-private.pem");
const EC_PUBLIC: &str = include_str!("../../../tests/fixtures/jwt/ec-public.pem");
const RSA_PRIVATE: &str = include_str!("../../../tests/fixtures/jwt/rsa-private.pem");
const RSA_PUBLIC: &str = include_str!("../../../tests/fixtures/jwt/rsa-public.pem");

fn workspace(secrets: &[&str]) -> Workspace {
    let policy = Policy::sandbox();
    Workspace {
        id: WorkspaceId(1),
        name: "shop".into(),
        settings_set: None,
        created_at: 0,
        settings: SettingsInput::default().in_force(&policy, true),
        policy,
        mail: Default::default(),
        canary: false,
        identity_secrets: secrets.iter().map(|s| hex::decode(s).unwrap()).collect(),
        trusted_keys: vec![EC_PUBLIC.into(), RSA_PUBLIC.into()],
        apps: std::sync::Arc::default(),
        alimtalk: std::sync::Arc::default(),
        activity: std::sync::Arc::default(),
    }
}

fn by_hash(workspace: &Workspace, id: &str, hash: &str) -> Result<Option<String>, IdentityError> {
    prove(workspace, Claim { customer_id: Some(id), hash: Some(hash), token: None }, NOW_MS)
}

fn by_token(token: &str) -> Result<Option<String>, IdentityError> {
    prove(&workspace(&[SECRET]), Claim { token: Some(token), ..Claim::default() }, NOW_MS)
}

fn claims() -> serde_json::Value {
    json!({"sub": "lucas", "aud": "shop", "exp": NOW_S + 3600})
}

fn hs256(claims: &serde_json::Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(&hex::decode(SECRET).unwrap())).unwrap()
}

/// C1: the vector.
#[test]
fn the_hash_is_hmac_sha256_with_the_decoded_secret() {
    assert_eq!(customer_hash(&hex::decode(SECRET).unwrap(), "lucas"), LUCAS);
    assert_eq!(by_hash(&workspace(&[SECRET]), "lucas", LUCAS), Ok(Some("lucas".into())));
}

/// C1: two secrets are valid at once; without any, nothing is.
#[test]
fn both_secrets_are_valid() {
    let other = "0".repeat(64);
    assert!(by_hash(&workspace(&[&other, SECRET]), "lucas", LUCAS).is_ok());
    assert_eq!(by_hash(&workspace(&[&other]), "lucas", LUCAS), Err(IdentityError::Hash));
    assert_eq!(by_hash(&workspace(&[]), "lucas", LUCAS), Err(IdentityError::Hash));
}

/// C1: a wrong proof is refused, never ignored; an id without proof too.
#[test]
fn wrong_hashes_are_refused() {
    let ws = workspace(&[SECRET]);
    let keyed_with_text = customer_hash(SECRET.as_bytes(), "lucas");
    for hash in ["", &LUCAS[1..], &LUCAS.to_uppercase(), &LUCAS.replace('9', "8"), &keyed_with_text] {
        assert_eq!(by_hash(&ws, "lucas", hash), Err(IdentityError::Hash), "{hash}");
    }
    assert_eq!(by_hash(&ws, "Lucas", LUCAS), Err(IdentityError::Hash));
    let claim = |customer_id, hash| prove(&ws, Claim { customer_id, hash, token: None }, NOW_MS);
    assert_eq!(claim(Some("lucas"), None), Err(IdentityError::Missing));
    assert_eq!(claim(None, Some(LUCAS)), Err(IdentityError::Hash));
    assert_eq!(claim(None, None), Ok(None));
}

/// C1: ES256, RS256 and HS256; for HS256 the secret as bytes or as its 64 characters.
#[test]
fn tokens_of_each_algorithm_are_taken() {
    let es = EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()).unwrap();
    let rs = EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap();
    let text = EncodingKey::from_secret(SECRET.as_bytes());
    let tokens = [
        hs256(&claims()),
        encode(&Header::new(Algorithm::HS256), &claims(), &text).unwrap(),
        encode(&Header::new(Algorithm::ES256), &claims(), &es).unwrap(),
        encode(&Header::new(Algorithm::RS256), &claims(), &rs).unwrap(),
        hs256(&json!({"sub": "lucas", "aud": ["other", "shop"], "exp": NOW_S + 86_400})),
    ];
    for token in tokens {
        assert_eq!(by_token(&token), Ok(Some("lucas".into())), "{token}");
    }
}

/// C1: `sub`, `aud` = workspace, `exp` at most 24 hours ahead; 60 s of leeway, both sides.
#[test]
fn tokens_with_wrong_claims_are_refused() {
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = claims();
        change(&mut claims);
        by_token(&hs256(&claims))
    };
    for (exp, taken) in [(-60, false), (-59, true), (86_460, true), (86_461, false), (10 * 86_400, false)] {
        assert_eq!(with(&|c| c["exp"] = json!(NOW_S + exp)).is_ok(), taken, "exp {exp}");
    }
    assert!(with(&|c| c["nbf"] = json!(NOW_S + 61)).is_err());
    assert!(with(&|c| c["aud"] = json!("other")).is_err());
    for missing in ["sub", "aud", "exp"] {
        assert!(with(&|c| drop(c.as_object_mut().unwrap().remove(missing))).is_err(), "{missing}");
    }
    for sub in [json!(""), json!("a\nb"), json!("x".repeat(129)), json!(7)] {
        assert!(with(&|c| c["sub"] = sub.clone()).is_err(), "{sub}");
    }
}

/// C1: no algorithm is mistaken for another: `none`, a public key used as an HMAC secret, other HMAC lengths.
#[test]
fn algorithms_are_not_confused() {
    use base64::Engine as _;
    let b64 = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let body = b64(&claims().to_string());
    for alg in ["none", "None", "NONE"] {
        assert!(by_token(&format!("{}.{body}.", b64(&format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#)))).is_err());
    }
    for pem in [EC_PUBLIC, RSA_PUBLIC] {
        let forged = encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(pem.as_bytes()));
        assert_eq!(by_token(&forged.unwrap()), Err(IdentityError::Token));
    }
    let secret = EncodingKey::from_secret(&hex::decode(SECRET).unwrap());
    assert!(by_token(&encode(&Header::new(Algorithm::HS512), &claims(), &secret).unwrap()).is_err());
    let good = hs256(&claims());
    assert!(by_token(&good[..good.len() - 1]).is_err(), "a cut signature");
    assert!(by_token(&"a".repeat(9000)).is_err() && by_token("").is_err() && by_token("a.b.c").is_err());
}

/// C1: a token and an id must name the same customer, and each proof given must hold.
#[test]
fn two_proofs_must_agree() {
    let ws = workspace(&[SECRET]);
    let token = hs256(&claims());
    let claim = |customer_id, hash| prove(&ws, Claim { customer_id, hash, token: Some(&token) }, NOW_MS);
    assert_eq!(claim(Some("lucas"), Some(LUCAS)), Ok(Some("lucas".into())));
    assert_eq!(claim(Some("lucas"), Some("00")), Err(IdentityError::Hash));
    assert_eq!(claim(Some("mia"), None), Err(IdentityError::Another));
}

#[test]
fn only_public_keys_are_trusted() {
    assert!(is_public_key(EC_PUBLIC) && is_public_key(RSA_PUBLIC));
    assert!(!is_public_key(EC_PRIVATE) && !is_public_key("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"));
}
