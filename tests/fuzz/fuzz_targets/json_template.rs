//! Templates in JSON: reading, checks, variables, builds, configurations, `fix` and `hcl2_upgrade`.
#![no_main]

use imgbuild_fuzz::run;
use imgbuild_packer::fix::fix;
use imgbuild_packer::interpolate::{Build, Context, Generated, Place, Renderer, Run};
use imgbuild_packer::legacy::{Template, inspect, render};
use imgbuild_packer::upgrade::{Options, upgrade};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = fix("t.json", text);
    let Ok(template) = Template::parse("t.json", text) else { return };
    let _ = inspect(&template);
    let _ = upgrade(&template, Options { annotations: true }, &|_| true);
    let run = run();
    if template.validate("1.16.0").is_empty() {
        configure(&template, &run);
    }
});

fn configure(template: &Template, run: &Run) {
    let Ok(values) = template.resolve(run, &[]) else { return };
    let Ok(builds) = template.builds(run, &values, &[], &[]) else { return };
    for build in &builds {
        let context = Context {
            build: Some(Build { name: build.name.clone(), kind: build.builder.kind.text.to_string() }),
            generated: Generated::Late(["ID".to_owned()].into()),
            ..Context::new(run.clone(), Place::Elsewhere, Some(values.values.clone()))
        };
        let mut renderer = Renderer::new(context);
        let provisioners =
            build.provisioners.iter().chain(&build.error_cleanup).map(|one| &one.provisioner.config);
        let post_processors = build.post_processors.iter().flatten().map(|one| &one.config);
        for config in std::iter::once(&build.builder.config).chain(provisioners).chain(post_processors) {
            let _ = render(&template.source, config, &mut renderer, &[]);
        }
    }
}
