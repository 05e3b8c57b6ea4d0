//! Tables of what is found and what is not, for each kind. Published examples, or made for this test.

use super::{Kind::*, *};

pub(super) fn found(text: &str) -> Vec<(Kind, &str)> {
    personal_data(text, KindSet::ALL).into_iter().map(|f| (f.kind, &text[f.range])).collect()
}

/// Each text holds `«what is found»`, or nothing without such marks.
pub(super) fn table(kind: Kind, texts: &[&str]) {
    for marked in texts {
        let text = marked.replace(['«', '»'], "");
        let expected: Vec<_> =
            marked.split('«').skip(1).filter_map(|part| part.split('»').next()).map(|t| (kind, t)).collect();
        assert_eq!(found(&text), expected, "{text}");
    }
}

#[test]
fn emails() {
    table(
        Email,
        &[
            "«jane.doe+news@mail.example.org».",
            "<«a@b.co»>",
            "邮箱«zhang_san@qq.com»谢谢",
            "mailto:«x@y.museum»?subject=1",
            "'«o'neil@ex-ample.com»'",
            "email=«joe@example.com»&x=1",
            "«x@xn--fiqs8s.xn--fiqs8s»",
            "Mail «a@b.com», «c@d.net»",
            "a@b",
            "@user",
            "icon@2x.png",
            "write to me...«b@c.com»",
            "a@-b.com",
            "a@b..com",
            "git@github.com:org/repo.git",
            "x@y.1",
            "a@b.c",
            "see @john.smith and user@localhost",
        ],
    );
    let long = [&"a".repeat(65), "@example.com"].concat();
    assert_eq!(found(&long), []);
}

#[test]
fn phones() {
    table(
        Phone,
        &[
            "call «+1 415 555 2671» now",
            "«+1 (415) 555-2671»",
            "«(415) 555-2671»",
            "«415-555-2671»",
            "«415.555.2671»",
            "«1-415-555-2671»",
            "phone «4155552671»",
            "«+44 20 7946 0958»",
            "«+49 (0)30 12345678»",
            "«+41446681800».",
            "手机«13812345678»，",
            "**电话:** **«13812345678»**",
            "«+41446681800» (4000000000000003",
            "电话：«138 1234 5678»",
            "«138-1234-5678»",
            "«+86 138 1234 5678»",
            "«86-13812345678»",
            "«0086 13812345678»",
            "座机«010-62345678»",
            "«(0755)26543210»",
            "«0571-8765432»",
            "«+86 10 6234 5678»",
            "我的号码是«19912345678»。",
            "tel:«+33123456789»",
            "4155552671",
            "id 138123456789",
            "x13812345678",
            "订单号20231381234567890",
            "12812345678",
            "011-555-2671",
            "415-911-2671",
            "115-555-2671",
            "ORD-415-555-2671",
            "415-555-2671-88",
            "+1 115 555 2671",
            "1.415.5",
            "2024-11-23 10:20:30",
            "+12345",
            "1700000000",
            "1700000000000",
            "3.1415926535",
            "010-12345678",
            "0000-1234567",
            "550e8400-e29b-41d4-a716-446655440000",
        ],
    );
}

#[test]
fn cards() {
    table(
        Card,
        &[
            "card «4111 1111 1111 1111» exp",
            "«4111111111111111»",
            "«4111-1111-1111-1111»",
            "«378282246310005»",
            "«3782 822463 10005»",
            "«5555555555554444»",
            "«2223003122003222»",
            "«6011111111111117»",
            "«30569309025904»",
            "«3056 930902 5904»",
            "«3530111333300000»",
            "卡号«6200000000000005»。",
            "«4222222222222»",
            "pan=«4111111111111111»",
            "«2200 0000 0000 0053»",
            "4111 1111 1111 1112",
            "4111111111111112",
            "378282246310006",
            "5555555555554445",
            "6200000000000006",
            "94111111111111111",
            "41111111111111110000",
            "4111111111111111-1",
            "x4111111111111111",
            "0000000000000000",
            "9111111111111111",
            "4111 11111111 1111",
            "4111-1111 1111-1111",
            "1.4111111111111111",
        ],
    );
}

#[test]
fn ibans() {
    table(
        Iban,
        &[
            "«GB82 WEST 1234 5698 7654 32».",
            "«GB82WEST12345698765432»",
            "IBAN:«DE89370400440532013000»",
            "«FR1420041010050500013M02606»",
            "«NO9386011117947»",
            "账户«CH93 0076 2011 6238 5295 7»",
            "«NL91ABNA0417164300», «BE68539007547034»",
            "GB82 WEST 1234 5698 7654 33",
            "DE89370400440532013001",
            "DE8937040044053201300",
            "XX89370400440532013000",
            "de89370400440532013000",
            "DE893704004405320130000",
            "XDE89370400440532013000",
            "GB82 WEST1234 5698 7654 32",
        ],
    );
}

#[test]
fn resident_ids() {
    table(
        ResidentId,
        &[
            "身份证号«11010519491231002X»。",
            "«11010519491231002x»",
            "«440524188001010014»",
            "«110105 19491231 002X»",
            "身份证：«110105491231002»",
            "110105194912310021",
            "440524188001010015",
            "11010519491331002X",
            "99010519491231002X",
            "011010519491231002X",
            "11010519491231002X1",
            "单号110105491231002",
        ],
    );
}

#[test]
fn social_security_numbers() {
    table(
        Ssn,
        &[
            "SSN «536-22-1234»",
            "«536-22-1234»",
            "social security number: «536221234»",
            "ssn «536 22 1234»",
            "000-22-1234",
            "666-22-1234",
            "900-22-1234",
            "536-00-1234",
            "536-22-0000",
            "078-05-1120",
            "536221234",
            "536-22-12345",
            "1536-22-1234",
            "536 22 1234",
            "A536-22-1234",
            "session 536221234",
        ],
    );
}

#[test]
fn passports() {
    table(
        Passport,
        &[
            "passport no. «E12345678»",
            "护照号码：«EA1234567»",
            "Passport: «123456789»",
            "旅券番号 «TK1234567»",
            "Reisepass «C01X00T47»",
            "E12345678",
            "ticket E12345678",
            "passport holder since 1999",
            "passport E1234567890",
            "passport ABCDEFGH",
        ],
    );
}

#[test]
fn internet_addresses() {
    table(
        Ipv4,
        &[
            "from «8.8.4.200».",
            "«93.184.216.34»:8080",
            "http://«93.184.216.34»/x",
            "来自«114.114.114.114»的",
            "«1.2.3.4»",
            "192.168.1.1",
            "10.0.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "203.0.113.5",
            "0.0.0.0",
            "255.255.255.255",
            "100.64.0.1",
            "224.0.0.1",
            "1.2.3.4.5",
            "v1.2.3.4",
            "version 1.2.3.4",
            "版本1.2.3.4",
            "1.2.3.4-rc1",
            "256.1.1.1",
            "01.2.3.4",
            "1.2.3",
            "93.184.216.345",
        ],
    );
    table(
        Ipv6,
        &[
            "«2606:2800:220:1:248:1893:25c8:1946»",
            "[«2a00:1450:4001::8a»]:443",
            "at «2001:4860:4860::8888».",
            "«::ffff:8.8.8.8»",
            "::1",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "ff02::1",
            "std::fmt",
            "ab::cd",
            "10:20:30",
            "1:2",
            "::",
            "::ffff:10.0.0.1",
            "a::b::c",
        ],
    );
    table(
        MacAddress,
        &[
            "«00:1b:44:11:3a:b7»",
            "«00-1B-44-11-3A-B7».",
            "«001b.4411.3ab7»",
            "ether «3c:22:fb:9e:00:01» txqueuelen",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "00:00:5e:00:53:01",
            "00:1b:44:11:3a",
            "00:1b:44:11:3a:b7:aa",
            "00:1b-44:11-3a:b7",
            "aa:00:1b:44:11:3a:b7",
            "00:1g:44:11:3a:b7",
        ],
    );
}

#[test]
fn dates_of_birth() {
    table(
        BirthDate,
        &[
            "born «1990-01-31»",
            "DOB: «01/31/1990»",
            "date of birth «31.1.1990»",
            "born on «31 January 1990» in",
            "birthday: «Jan 31st, 1990»",
            "出生日期：«1990年1月31日»",
            "«1990年1月31日»出生",
            "生日«1990-1-31»",
            "born «January 31, 1990».",
            "1990-01-31",
            "born in 1990",
            "born 1990-02-30",
            "released 31 January 1990",
            "born 1990-13-01",
            "stubborn 1990-01-31",
            "生日快乐",
        ],
    );
}

#[test]
fn wallets() {
    table(
        Bitcoin,
        &[
            "«1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa»",
            "«3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy»,",
            "«bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4»",
            "«BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4»",
            "地址«bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0»",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLz",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
            "bc1Qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        ],
    );
    table(
        Ethereum,
        &[
            "«0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed»",
            "«0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359»",
            "«0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed»",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
            "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae",
            "0x0000000000000000000000000000000000000000",
            "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ],
    );
    table(Tron, &["«TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t»", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"]);
    table(
        Solana,
        &[
            "Solana: «EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v»",
            "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
            "solana EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt10",
        ],
    );
}

#[test]
fn hashes_and_ids_are_no_secrets() {
    for text in [
        "d41d8cd98f00b204e9800998ecf8427e",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "550e8400-e29b-41d4-a716-446655440000",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "2024-11-23T23:44:37.123456789Z",
        "ISBN 978-3-16-148410-0",
        "v20.11.1",
        "1,234,567,890",
        "0x7ffee4b2c1d0",
        "100.000.000",
        "第1.2.3.4节",
        "rgb(255, 255, 255)",
        "12:34:56:78",
        "#4111",
        "π = 3.14159265358979323846",
        "1234 5678 9012 3456",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn only_what_is_asked_for() {
    let text = "a@b.com 13812345678";
    let asked: KindSet = [Phone].into_iter().collect();
    assert_eq!(personal_data(text, asked).len(), 1);
    assert!(personal_data(text, KindSet::default()).is_empty());
    assert!(Kind::ALL.iter().all(|kind| KindSet::ALL.contains(*kind)));
    assert!(PrivateKey.is_secret() && Password.is_secret() && !Email.is_secret() && !Phone.is_secret());
}

#[test]
fn the_longest_stays() {
    assert_eq!(found("13812345678@qq.com"), [(Email, "13812345678@qq.com")]);
    assert_eq!(found("https://joe:s3cret@example.com/"), [(UrlCredentials, "joe:s3cret")]);
    assert_eq!(found("password=joe99@example.com"), [(Email, "joe99@example.com")]);
    assert_eq!(
        found("token=a1/AKIAQ3EGRIWZ5YKTMPA7/b2"),
        [(Password, "a1/"), (AwsKeyId, "AKIAQ3EGRIWZ5YKTMPA7"), (Password, "/b2")]
    );
}
