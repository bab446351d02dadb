#[path = "../tests/support.rs"]
mod support;
use std::io::BufRead;
fn main() {
    for line in std::io::stdin().lock().lines() {
        let v: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let (op, src) = (v["Op"].as_str().unwrap(), v["Src"].as_str().unwrap());
        let out = if op == "fmt" { Ok(String::new()) } else { support::run(op, src) };
        println!("{}", match out { Ok(o) => serde_json::json!({"Out": o, "Err": null}), Err(e) => serde_json::json!({"Out": "", "Err": [e]}) });
    }
}
