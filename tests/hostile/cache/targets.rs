//! Targets that mean one thing to the cache and another to the origin: parameters (cache poisoning) and paths
//! (cache deception). The key is made of the bytes that are forwarded (RFC 9111 §2, RFC 3986 §6.2.2).

use super::{FRESH, LATER, PLAIN, PLAIN_SEEN, Talk, play, talk};

/// The target of one client, which the origin sees as the second says, then that of another; whether they
/// share a response.
type Pair = (&'static str, &'static str, &'static str, bool);

fn pair((first, seen, second, shared): Pair, clause: &'static str) -> Talk {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    let both = [format!("GET {seen}\nhost: a"), format!("GET {second}\nhost: a")];
    let seen: Vec<&str> = both.iter().take(if shared { 1 } else { 2 }).map(String::as_str).collect();
    talk(format!("{first} and {second}"), clause)
        .client(get(first), 200, "first")
        .says(FRESH)
        .client(get(second), 200, if shared { "first" } else { "later" })
        .seen(&seen)
}

/// Without rules a query is opaque.
#[tokio::test]
async fn parameters() {
    let pairs: [Pair; 12] = [
        ("/?a=1&b=2", "/?a=1&b=2", "/?b=2&a=1", false),
        ("/?a=1;b=evil", "/?a=1;b=evil", "/?a=1", false),
        ("/?a=1%26b=evil", "/?a=1%26b=evil", "/?a=1&b=evil", false),
        ("/?a=1&a=evil", "/?a=1&a=evil", "/?a=evil&a=1", false),
        ("/?a=1&a=evil", "/?a=1&a=evil", "/?a=1", false),
        ("/?%61=1", "/?%61=1", "/?a=1", false),
        ("/?a=%31", "/?a=%31", "/?a=1", false),
        ("/?A=1", "/?A=1", "/?a=1", false),
        ("/?a[]=1", "/?a[]=1", "/?a=1", false),
        ("/?a=1&", "/?a=1&", "/?a=1", false),
        ("/?", "/?", "/", false),
        ("/?a=1%00", "/?a=1%00", "/?a=1", false),
    ];
    play(pairs.map(|it| pair(it, "9111 §2"))).await;
}

/// A fragment is no part of any target: it is refused, and nothing is stored for it.
#[tokio::test]
async fn fragments() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    let refused = talk("a fragment", "9112 §3.2").client(get("/?a=1#evil"), 400, "");
    play([refused.client(get("/?a=1"), 200, "first").says(FRESH).seen(&["GET /?a=1\nhost: a"])]).await;
}

/// With rules, what some origin may read in another way counts.
#[tokio::test]
async fn parameters_with_rules() {
    let ignore = "[route.cache.key]\nquery = { ignore = [\"utm_*\"] }\n";
    let only = "[route.cache.key]\nquery = { only = [\"a\"] }\n";
    let sort = "[route.cache.key]\nquery = { sort = true }\n";
    let rows: [(&str, Pair); 15] = [
        (ignore, ("/?a=1&utm_x=2", "/?a=1&utm_x=2", "/?a=1", true)),
        (ignore, ("/?a=1&utm_x=2;a=evil", "/?a=1&utm_x=2;a=evil", "/?a=1", false)),
        (ignore, ("/?a=1&utm_x%26a=evil", "/?a=1&utm_x%26a=evil", "/?a=1", false)),
        (ignore, ("/?a=1&utm_x%3Ba=evil", "/?a=1&utm_x%3Ba=evil", "/?a=1", false)),
        (ignore, ("/?a=1&utm_x[a]=evil", "/?a=1&utm_x[a]=evil", "/?a=1", false)),
        (ignore, ("/?a=1&utm_x%00=evil", "/?a=1&utm_x%00=evil", "/?a=1", false)),
        (ignore, ("/?a=1?utm_x=2", "/?a=1?utm_x=2", "/?a=1", false)),
        (ignore, ("/?utm_x?a=evil&a=1", "/?utm_x?a=evil&a=1", "/?a=1", false)),
        (only, ("/?a=1&b=2", "/?a=1&b=2", "/?a=1", true)),
        (only, ("/?a=1&a=evil", "/?a=1&a=evil", "/?a=1", false)),
        (only, ("/?a=1&A=evil", "/?a=1&A=evil", "/?a=1", false)),
        (only, ("/?a=1&%61=evil", "/?a=1&%61=evil", "/?a=1", false)),
        (only, ("/?a=1&b=2;a=evil", "/?a=1&b=2;a=evil", "/?a=1", false)),
        (sort, ("/?b=2&a=1", "/?b=2&a=1", "/?a=1&b=2", true)),
        (sort, ("/?a=1&a=2", "/?a=1&a=2", "/?a=2&a=1", false)),
    ];
    play(rows.map(|(route, it)| pair(it, "9111 §2").route(route))).await;
}

/// One path, for the key and for the origin: `/account` is never stored as something else, nor is something
/// else stored as `/account`.
#[tokio::test]
async fn paths() {
    let pairs: [Pair; 17] = [
        ("/account/x.css", "/account/x.css", "/account", false),
        ("/account;x.css", "/account;x.css", "/account", false),
        ("/account%3Bx.css", "/account%3Bx.css", "/account", false),
        ("/account%23x.css", "/account%23x.css", "/account", false),
        ("/account%3Fx.css", "/account%3Fx.css", "/account", false),
        ("/account%2Fx.css", "/account%2Fx.css", "/account/x.css", false),
        ("/account$x.css", "/account$x.css", "/account", false),
        ("/account!x.css", "/account!x.css", "/account", false),
        ("/account.css", "/account.css", "/account", false),
        ("/account/", "/account/", "/account", false),
        ("/Account", "/Account", "/account", false),
        ("/account%20", "/account%20", "/account", false),
        ("/%2561ccount", "/%2561ccount", "/account", false),
        ("/static/../account", "/account", "/account", true),
        ("/static/%2e%2e/account", "/account", "/account", true),
        ("//account", "/account", "/account", true),
        ("/%61ccount", "/account", "/account", true),
    ];
    let refused = [
        "/static/..%2faccount",
        "/static%2f..%2faccount",
        "/account/..%2fstatic/x.css",
        "/static/..;/account",
        "/static\\..\\account",
        "/static%5c..%5caccount",
        "/account%00x.css",
        "/account%0ax.css",
        "/account%0d%0ax.css",
        "/account%7fx.css",
        "/account%zz",
    ]
    .map(|target| {
        talk(target, "3986 §6.2.2")
            .client(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"), 400, "")
            .client(ask!("GET" "/account"), 200, "later")
            .seen(&["GET /account\nhost: a"])
    });
    play(pairs.map(|it| pair(it, "3986 §6.2.2")).into_iter().chain(refused)).await;
}

/// No name makes a response one that is stored: neither an extension nor a folder nor a media type.
#[tokio::test]
async fn names_of_files() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\ncookie: id=1\r\n\r\n");
    let types = ["text/html", "text/css", "image/png"];
    let targets = ["/account/x.css", "/static/x.js", "/assets/logo.png", "/robots.txt", "/favicon.ico"];
    play(targets.into_iter().zip(types.into_iter().cycle()).map(|(target, kind)| {
        let seen = format!("GET {target}\ncookie: id=1\nhost: a");
        talk(format!("{target} {kind}"), "9111 §3")
            .client(get(target), 200, "first")
            .says(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 5\r\n\r\nfirst"))
            .client(get(target), 200, "later")
            .says(LATER)
            .seen(&[&seen, &seen])
    }))
    .await;
}

/// What a client writes for a line end stays encoded.
#[tokio::test]
async fn encoded_line_ends_in_a_query_stay_encoded() {
    play([talk("a query with a line end", "9112 §3")
        .client(ask!("GET" "/?a=%0d%0aset-cookie:%20evil"), 200, "first")
        .says(FRESH)
        .client(PLAIN, 200, "later")
        .seen(&["GET /?a=%0d%0aset-cookie:%20evil\nhost: a", PLAIN_SEEN])])
    .await;
}
