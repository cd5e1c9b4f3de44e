//! The files of the chat page, built into the program. A file is known by the hash of its content: under an address that
//! names the hash it may be kept for ever, since another content has another address.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// One file.
#[derive(Debug)]
pub struct Asset {
    /// Where it is served.
    pub path: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// Its content, with the hashes of the files that it names.
    pub text: String,
    /// Of its content, shortened.
    pub hash: String,
}

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file names only files above it.
const FILES: &[(&str, &str, &str)] = &[
    (
        "/assets/style.css",
        STYLE,
        include_str!("../../web/style.css"),
    ),
    (
        "/assets/markdown.js",
        SCRIPT,
        include_str!("../../web/markdown.js"),
    ),
    (
        "/assets/gateway.js",
        SCRIPT,
        include_str!("../../web/gateway.js"),
    ),
    (
        "/assets/conversation.js",
        SCRIPT,
        include_str!("../../web/conversation.js"),
    ),
    ("/assets/view.js", SCRIPT, include_str!("../../web/view.js")),
    ("/assets/app.js", SCRIPT, include_str!("../../web/app.js")),
];

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let mut done = Vec::new();
    for (path, kind, text) in FILES {
        let text = linked(text, &done);
        let digest = Sha256::digest(text.as_bytes());
        let hash = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
        done.push(Asset {
            path,
            kind,
            text,
            hash,
        });
    }
    done
});

static CHAT: LazyLock<String> =
    LazyLock::new(|| linked(include_str!("../../web/index.html"), &ASSETS));

/// The text with the whole addresses of the files that it names: `"/assets/x"` in pages, `"./x"` in scripts.
fn linked(text: &str, assets: &[Asset]) -> String {
    let mut text = text.to_owned();
    for asset in assets {
        let name = asset.path.trim_start_matches("/assets");
        for short in [format!("\"{}\"", asset.path), format!("\".{name}\"")] {
            text = text.replace(&short, &format!("\"{}\"", asset.address()));
        }
    }
    text
}

impl Asset {
    /// Path and hash.
    fn address(&self) -> String {
        format!("{}?v={}", self.path, self.hash)
    }

    /// Whether a query asks for this content and no other.
    pub fn is_exact(&self, query: Option<&str>) -> bool {
        query.and_then(|query| query.strip_prefix("v=")) == Some(&*self.hash)
    }
}

/// The file at a path.
pub fn at(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

/// The chat page.
pub fn chat() -> &'static str {
    &CHAT
}

/// Address of the style sheet.
pub fn style() -> String {
    ASSETS.first().map(Asset::address).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_names_the_content() {
        for asset in ASSETS.iter() {
            for import in asset
                .text
                .lines()
                .filter(|line| line.starts_with("import "))
            {
                let address = import.split('"').nth(1).unwrap();
                assert!(
                    ASSETS.iter().any(|other| other.address() == address),
                    "{import}"
                );
            }
        }
        for name in ["/assets/style.css", "/assets/app.js"] {
            let address = at(name).unwrap().address();
            assert!(chat().contains(&format!("\"{address}\"")), "{address}");
        }
        assert!(style().starts_with("/assets/style.css?v="));
    }

    #[test]
    fn the_page_holds_no_script_no_style_and_nothing_from_elsewhere() {
        let page = chat();
        for word in ["<style", "style=", "onclick", "onload", "http:", "https:"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("\"></script>"));
        for asset in ASSETS.iter() {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "url(",
                "@import",
            ] {
                assert!(!asset.text.contains(word), "{}: {word}", asset.path);
            }
        }
    }
}
