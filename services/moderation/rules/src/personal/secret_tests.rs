//! Tables of secrets. Keys are put together here, so that no scanner of sources takes them for real.

use super::{
    Kind::*,
    tests::{found, table},
};

/// `n` letters and digits that look random.
fn random(n: usize) -> String {
    let mut state = 12_345_u32;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(letters[(state >> 16) as usize % letters.len()])
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn tokens_of_issuers() {
    let upper = "Q3EGRIWZ5YKTMPA7";
    let pat = [random(22).as_str(), "_", &random(59)].concat();
    let cases = [
        (AwsKeyId, "AKIA", upper.to_owned()),
        (AwsKeyId, "ASIA", upper.to_owned()),
        (GithubToken, "ghp_", random(36)),
        (GithubToken, "ghs_", random(36)),
        (GithubToken, "github_pat_", pat),
        (GitlabToken, "glpat-", random(20)),
        (SlackToken, "xoxb-", ["123456789012-1234567890123-", &random(24)].concat()),
        (StripeKey, "sk_live_", random(24)),
        (StripeKey, "rk_test_", random(24)),
        (GoogleKey, "AIza", random(35)),
        (GoogleKey, "GOCSPX-", random(28)),
        (HuggingFaceToken, "hf_", random(34)),
        (NpmToken, "npm_", random(36)),
        (PypiToken, "pypi-AgEIcHlwaS5vcmc", random(150)),
        (ModelKey, "sk-", random(48)),
        (ModelKey, "sk-proj-", [random(60).as_str(), "_-", &random(40)].concat()),
        (ModelKey, "sk-ant-api03-", random(93)),
    ];
    for (kind, prefix, rest) in cases {
        let key = [prefix, &rest].concat();
        for around in ["«»", "key: «».", "密钥是«»，", "API_TOKEN=«»", "Authorization: Bearer «»", "\"«»\""]
        {
            let text = around.replace("«»", &key);
            assert_eq!(found(&text), [(kind, key.as_str())], "{text}");
        }
        let wrong = [prefix, &"x".repeat(rest.len())].concat();
        let inside = ["x", &key].concat();
        for text in [wrong, inside, key[..prefix.len() + rest.len() / 4].to_owned()] {
            assert!(found(&text).iter().all(|(other, _)| *other != kind), "{text}");
        }
    }
    assert_eq!(found("sk-some-long-class-name-of-a-style-sheet-for-buttons"), []);
}

#[test]
fn secrets_beside_their_names() {
    table(
        Password,
        &[
            "password=«hunter2!x»",
            "\"password\": \"«S3cure-Pass»\"",
            "DB_PASSWORD='«pa55w0rd!»'",
            "密码：«abc12345»",
            "密码是: x",
            "pwd = «Tr0ub4dor»&3",
            "api_key: «9f8d7c6b5a4e3d2c»",
            "client_secret => \"«a8f5f167f44f4964e6c998dee827110c»\"",
            "口令:«888666123»",
            "**Password:** «hunter2!x»",
            "- **密码**：`«abc12345»`",
            "token: «3fA9zQ81kLm2»;",
            "password: required",
            "password = getPassword()",
            "password=${PASSWORD}",
            "password=********",
            "password: <your password>",
            "token=next_token",
            "api_key = process.env.API_KEY1",
            "password=changeme",
            "secret: the secret is out",
            "password=[PASSWORD]",
            "token: 12",
            "passwords: 12",
            "password: correct horse battery",
        ],
    );
    table(
        BearerToken,
        &[
            "Authorization: Bearer «mF_9.B5f-4.1JqMab7q»",
            "bearer «4f9a8c7b6d5e4f3a2b1c»",
            "Authorization: Basic «dXNlcjpwYXNz»",
            "bearer of bad news",
            "Bearer certificates-of-deposit",
            "Basic dXNlcjpwYXNz",
            "Bearer [BEARER_TOKEN]",
        ],
    );
    table(
        UrlCredentials,
        &[
            "postgres://«bob:s3cret»@db.example.com/x",
            "https://«u:p%40ss»@host",
            "https://user@host/",
            "http://a:8080/x@y",
            "https://user:${PASS}@host",
            "https://x/?q=a:b@c",
        ],
    );
    let aws = ["wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYzzzzAMPLEK"].concat();
    table(
        AwsSecretKey,
        &[
            format!("aws_secret_access_key = «{aws}»").as_str(),
            format!("AWS Secret Access Key: «{aws}»").as_str(),
            aws.as_str(),
            format!("path {aws}").as_str(),
        ],
    );
    let azure = [&random(43), "+/", &random(41), "=="].concat();
    table(
        AzureKey,
        &[format!("AccountName=x;AccountKey=«{azure}»;EndpointSuffix=y").as_str(), azure.as_str()],
    );
}

#[test]
fn tokens_and_keys_with_structure() {
    let body = ["eyJzdWIiOiIxMjM0NTY3ODkwIn0", ".", &random(43)].concat();
    let jwt = ["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.", &body].concat();
    table(
        Jwt,
        &[
            format!("Authorization: Bearer «{jwt}»").as_str(),
            format!("token=«{jwt}»").as_str(),
            format!("«{jwt}».").as_str(),
            format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ.{body}").as_str(),
            format!("eyJ0eXAiOiJKV1QifQ.{body}").as_str(),
            "eyJ.eyJ.x",
        ],
    );
    let begin = |label: &str| ["-----BEGIN ", label, "-----"].concat();
    let end = |label: &str| ["-----END ", label, "-----"].concat();
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"] {
        let block = [begin(label), random(64), random(20) + "==", end(label)].join("\n");
        table(PrivateKey, &[format!("key:\n«{block}»\nmore").as_str()]);
        table(PrivateKey, &[["«", &begin(label), "\n", &random(64), "»"].concat().as_str()]);
    }
    let headers = [
        begin("RSA PRIVATE KEY"),
        "Proc-Type: 4,ENCRYPTED".into(),
        "DEK-Info: AES-256-CBC,00".into(),
        random(64),
        end("RSA PRIVATE KEY"),
    ];
    table(PrivateKey, &[format!("«{}»", headers.join("\n")).as_str()]);
    for text in
        [[begin("PUBLIC KEY"), random(64)].join("\n"), begin("PRIVATE KEY"), "----- BEGIN -----".into()]
    {
        assert_eq!(found(&text), [], "{text}");
    }
}
