//! How long it takes to read, evaluate and lay out a template.
//!
//! ```sh
//! cargo run --release -p imgbuild-hcl --example hcl_bench
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::format::format;
use imgbuild_hcl::syntax::{self, Body};
use imgbuild_hcl::value::{Type, Value};

/// What templates are made of; 33 lines.
const UNIT: &str = r#"
locals {
  name   = "web-${number + 1}-${text}"
  tags   = { Name = text, Env = flag ? "prod" : "dev", Count = number * 2 }
  list   = [for index, name in names : "${index}-${name}" if name != "b"]
  script = <<-EOT
    #!/bin/sh
    %{ for name in names ~}
    echo ${name}
    %{ endfor ~}
    exit 0
  EOT
}

source "amazon-ebs" "ubuntu" {
  ami_name      = "ubuntu-${text}-${number}"
  instance_type = "t3.micro" # small
  region        = text

  source_ami_filter {
    filters = {
      name                = "ubuntu/images/*ubuntu-jammy-22.04-amd64-server-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    most_recent = true
    owners      = ["099720109477"]
  }

  tags = { for key, value in labels : "t-${key}" => upper_case && flag ? value : text }
}

"#;

fn scope() -> Scope<'static> {
    let mut scope = Scope::new();
    scope.set("number", Value::int(41));
    scope.set("text", Value::string("eu-central-1"));
    scope.set("flag", Value::bool(true));
    scope.set("upper_case", Value::bool(false));
    scope.set("names", Value::strings(["a", "b", "c"]));
    let labels = ["z", "a", "m"].map(|name| (name.into(), Value::string(name)));
    scope.set("labels", Value::map(Type::String, labels.into_iter().collect()));
    scope
}

fn evaluate(body: &Body, scope: &Scope<'_>) {
    for attribute in &body.attributes {
        black_box(attribute.expr.evaluate(scope).expect("the template is right"));
    }
    for block in &body.blocks {
        evaluate(&block.body, scope);
    }
}

/// The fastest of several runs.
fn fastest(mut run: impl FnMut()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..20).map(time).min().unwrap_or_default()
}

fn main() {
    let scope = scope();
    println!("{:>8} {:>10} {:>10} {:>10} {:>10}", "lines", "bytes", "read", "evaluate", "lay out");
    for units in [1, 10, 100, 1000] {
        let text = UNIT.repeat(units);
        let file = syntax::parse("bench", &text).into_result().expect("the template is right");
        let read = fastest(|| drop(black_box(syntax::parse("bench", &text))));
        let evaluated = fastest(|| evaluate(&file.body, &scope));
        let laid_out = fastest(|| drop(black_box(format(&text))));
        println!(
            "{:>8} {:>10} {:>10.1?} {:>10.1?} {:>10.1?}",
            text.lines().count(),
            text.len(),
            read,
            evaluated,
            laid_out
        );
    }
}
