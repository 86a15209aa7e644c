//! Keeps the table of APIs in docs/compatibility.md current. With MILLRACE_WRITE_DOCUMENTS=1 it writes it anew.

use std::fmt::Write;
use std::path::Path;

use millrace_wire::ApiKey;

const BEGIN: &str = "<!-- generated: apis -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_table_of_apis_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let committed = std::fs::read_to_string(&path).expect("docs/compatibility.md is there");
    let (before, rest) = committed
        .split_once(BEGIN)
        .expect("the table has a beginning");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let current = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("MILLRACE_WRITE_DOCUMENTS").is_some() {
        std::fs::write(&path, &current).expect("docs/compatibility.md can be written");
        return;
    }
    assert!(
        committed == current,
        "docs/compatibility.md is not current: MILLRACE_WRITE_DOCUMENTS=1 cargo test -p millrace-wire --test compatibility"
    );
}

fn table() -> String {
    let mut table = "| key | API | versions | compact from |\n|---|---|---|---|\n".to_owned();
    for api in ApiKey::ALL {
        let versions = api.advertised_versions();
        let (first, last) = (versions.start(), versions.end());
        let compact = if api.is_flexible(*last) {
            api.flexible_first().max(*first).to_string()
        } else {
            "-".to_owned()
        };
        let number = api.number();
        writeln!(
            table,
            "| {number} | {api} | {first} to {last} | {compact} |"
        )
        .expect("a string takes all");
    }
    table
}
