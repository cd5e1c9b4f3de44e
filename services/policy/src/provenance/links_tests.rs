use super::*;

fn found(text: &str) -> String {
    hosts(text).into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn hosts_are_what_programs_make_links_of() {
    for (text, expected) in [
        ("see example.com", "example.com"),
        ("see www.Example.com/a?b", "www.example.com"),
        ("https://a.example.com:8080/x", "a.example.com"),
        ("http://user:pw@evil.example/x", "evil.example"),
        ("https://good.com@evil.com/", "evil.com good.com"),
        ("https://good.com\\@evil.com/", "evil.com good.com"),
        ("http://10.0.0.1/x and 10.0.0.2", "10.0.0.1 10.0.0.2"),
        ("http://[::1]/x", "::1"),
        ("http://localhost/x", "localhost"),
        (
            "http://\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{440}\u{444}/",
            "\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{440}\u{444}",
        ),
        ("[text](https://a.com/b)", "a.com"),
        ("(a.com) \"b.com\" c.com, d.com.", "a.com b.com c.com d.com"),
        ("https://WWW.A.COM/x", "www.a.com"),
        ("x=https://a.com&y=https://b.com", "a.com b.com"),
        ("\u{201c}https://a.com\u{201d}, he said", "a.com"),
        ("https://a.com/b.html and https://a.com/wiki/b.com", "a.com"),
        ("<p>https://a.com</p><p>Then</p>", "a.com"),
        ("https://a.com\nThen b", "a.com"),
        ("notes.txt a.PDF b.json: notes.csv?", ""),
        ("notes/2024/plan.txt and C:\\notes.txt C:/x", ""),
        ("ann@example.com, mailto:ann@example.com", ""),
        ("ann+tag@example.com.", ""),
        ("e.g. 1.5 and 3.14, v1.2 U.S.-based and/or 5:30/6:00", ""),
        ("ftp://x.org javascript:alert(1)", "x.org"),
        ("... wait... // and :/ so", ""),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

/// Ways to write a link to evil.com, with what of it is found.
const WAYS: &[(&str, &str)] = &[
    // Schemes and slashes.
    ("https://evil.com/x", "evil.com"),
    ("HTTPS://EVIL.COM/x", "evil.com"),
    ("//evil.com/x", "evil.com"),
    ("see (//evil.com/x)", "evil.com"),
    ("[a](//evil.com)", "evil.com"),
    ("href=//evil.com", "evil.com"),
    ("///evil.com/x", "evil.com"),
    ("https:/evil.com/x", "evil.com"),
    ("https:evil.com/x", "evil.com"),
    ("https:evil", "evil"),
    ("https:///evil.com", "evil.com"),
    ("https:\\\\evil.com", "evil.com"),
    ("https:\\/\\/evil.com", "evil.com"),
    ("/\\evil.com", "evil.com"),
    ("\\/evil.com", "evil.com"),
    ("\\\\evil\\share", "evil"),
    ("/evil.com", "evil.com"),
    ("look/evil.com/x", "evil.com"),
    ("tg://evil.com", "evil.com"),
    // Ports, queries, endings.
    ("www.evil.com", "www.evil.com"),
    ("evil.com:8080/x", "evil.com"),
    ("evil.com.", "evil.com"),
    ("https://evil.com./x", "evil.com"),
    ("evil.com\u{1f44d}", "evil.com"),
    ("see...evil.com", "evil.com"),
    ("evil.com+x", "evil.com"),
    ("evil.com-x", "evil.com"),
    ("evil.com.123", "evil.com"),
    ("evil.com.txt", "evil.com"),
    ("evil.xn--p1ai", "evil.xn--p1ai"),
    ("https://good.com.Ru/x", "good.com.ru"),
    // Names of files.
    ("evil.md", "evil.md"),
    ("evil.md?x=1", "evil.md"),
    ("evil.md/x", "evil.md"),
    ("evil.md#x", "evil.md"),
    ("evil.md:80", "evil.md"),
    ("evil.txt?x=1", "evil.txt"),
    ("evil.pdf/x", "evil.pdf"),
    ("evil.doc#x", "evil.doc"),
    ("evil.json:443/x", "evil.json"),
    // Users and addresses of mail.
    ("a@evil.com/x", "evil.com"),
    ("a@evil.com?x=1", "evil.com"),
    ("good.com:a@evil.com", "evil.com"),
    ("a@good.com@evil.com", "evil.com"),
    ("https://a:b@evil.com", "evil.com"),
    ("https://good.com%2f@evil.com", "evil.com"),
    ("mailto:a@evil.com?body=x", "evil.com"),
    // Numbers.
    ("http://2130706433/", "2130706433"),
    ("http://0x7f000001/", "0x7f000001"),
    ("http:/0x7f.1", "0x7f.1"),
    ("//2130706433", "2130706433"),
    ("10.0.0.1:80/x", "10.0.0.1"),
    ("https://good.com%00.evil.com", "good.com\0.evil.com"),
    // Escapes and other characters.
    ("https://%65%76%69%6c%2e%63%6f%6d/", "evil.com"),
    (
        "https://good.com%2e%65%76%69%6c%2e%63%6f%6d/",
        "good.com.evil.com",
    ),
    ("https://evil\u{3002}com", "evil.com"),
    ("evil\u{3002}com", "evil.com"),
    ("evil\u{ff0e}com \u{ff45}vil\u{ff61}com", "evil.com"),
    (
        "\u{ff45}\u{ff56}\u{ff49}\u{ff4c}\u{ff0e}\u{ff43}\u{ff4f}\u{ff4d}",
        "evil.com",
    ),
    ("https\u{ff1a}\u{ff0f}\u{ff0f}evil", "evil"),
    ("evi\u{ad}l.c\u{200b}om", "evil.com"),
    (
        "https://good.com\u{200b}.e\u{ad}v\u{ad}i\u{ad}l.c\u{ad}o\u{ad}m",
        "good.com.evil.com",
    ),
    (
        "https://good.com.\u{2122}.\u{2121}",
        "good.com.\u{2122}.\u{2121}",
    ),
    ("https://\u{1f4a9}.la \u{1f4a9}.la", "\u{1f4a9}.la"),
    // HTML and other markup.
    ("<a href=\"https://evil.com\">", "evil.com"),
    (
        "<a href='&#104;ttps&colon;&sol;&sol;evil&#x2e;com'>",
        "evil.com",
    ),
    ("&#104;&#116;&#116;&#112;&#115;&#58;&#47;&#47;evil", "evil"),
    ("evil&period;com", "evil.com"),
    ("https://good.com&#46evil&#46;c&#111;m", "good.com.evil.com"),
    ("https://good.com.&escr;&vscr;", "good.com.&escr;&vscr"),
    ("<a href=\"ht\ntps://evil.com\">", "evil.com"),
    ("<a href=\"https:/\n/evil.com\">", "evil.com"),
    (
        "<a href=\"https://good.com\n.e\nv\ni\nl.\nc\no\nm/\">",
        "good.com.evil.com",
    ),
    (
        "<a href=\" //good.com&Tab;.e&NewLine;vil.com\">",
        "good.com.evil.com",
    ),
    ("evil<b>.</b>com", "evil.com"),
    ("ev*il.c*om and evil\\.com", "evil.com"),
    ("<https://evil.com|good.com>", "evil.com"),
    ("https://good.com/x)evil.com", "evil.com"),
    ("https://good.com/?u=evil.com", "evil.com"),
    ("https://good.com,x.evil.com/", "x.evil.com"),
    ("https://good.com+.evil.com/", "evil.com"),
];

#[test]
fn a_foreign_link_is_found_however_it_is_written() {
    let own = meant("it is about good.com");
    let foreign = |text: &str| hosts(text).into_iter().find(|host| !own.contains(host));
    let passes =
        |(text, host): &&(&str, &str)| !hosts(text).contains(*host) || foreign(text).is_none();
    let passed = WAYS.iter().filter(passes);
    let passed: Vec<_> = passed.map(|(text, _)| (text, hosts(text))).collect();
    assert!(passed.is_empty(), "{passed:#?}");
}

#[test]
fn a_host_of_the_owners_passes_in_each_of_its_spellings() {
    let own = meant("it is about good.com");
    for text in [
        "https://good.com/x",
        "HTTPS://GOOD.COM",
        "//good.com/x",
        "see (//good.com/x)",
        "https:/good.com/x",
        "https:\\\\good.com",
        "/\\good.com",
        "good.com/evil.com",
        "good.com:8080/x?y=z",
        "https://a:b@good.com/x",
        "good.com.",
        "https://good%2ecom/",
        "good\u{3002}com",
        "<a href=\"https&colon;//good.com/x\">good.com</a>",
        "<a href=\"https://good.com\n/x\">",
        "**good.com**",
    ] {
        let all = hosts(text);
        assert!(!all.is_empty(), "{text}");
        assert!(all.iter().all(|host| own.contains(host)), "{text}: {all:?}");
    }
}

#[test]
fn the_owners_sentence_may_begin_without_a_space() {
    let own = |text| meant(text).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(own("go to www.a.com.They said"), "www.a.com www.a.com.they");
    assert_eq!(own("https://www.a.com.They"), "www.a.com www.a.com.they");
    assert_eq!(found("https://www.a.com.They"), "www.a.com.they");
}

#[test]
fn an_endless_text_of_marks_is_read_in_one_go() {
    for mark in ["<a", "&", "://", "\\", "@", ".", "'\n", "%", "a:/"] {
        let text = mark.repeat(50_000);
        assert!(hosts(&text).len() < 10, "{mark}");
    }
}
