//! Sources, carried out in contexts of their own: archives and layouts made here, images of a real registry.

mod fixture;
mod flaky;

use std::io::Write as _;
use std::num::NonZeroUsize;

use fixture::{Bench, HandMade, Registry, attributes, has, is_root, metadata, platform, problem, run, tar};
use imgbuild_engine::LayerMetadata;
use imgbuild_formats::oci::{OciOptions, write_layout};
use imgbuild_formats::{Compression, Image, ImageConfig, LayerPolicy, LayerSource, Platform, Step};
use imgbuild_model::{ChainState, Class, Event, Value};
use imgbuild_plan::{ImageRequest, LockFile, PinRequest, default_source_date};
use imgbuild_tree::{Metadata, Node, XattrNamespace};
use serde_json::json;

use super::source_date;
use crate::Resolver;

const TIME: u64 = 1_700_000_000;
const CREATED: &str = "2024-05-06T07:08:09.9Z";
const CREATED_SECONDS: i64 = 1_714_979_289;

/// What is in the first layer of most images here.
fn lowest() -> Vec<u8> {
    tar(&[
        ("etc/", "", TIME),
        ("etc/hosts", "127.0.0.1 localhost\n", TIME),
        ("etc/resolv.conf", "-> ../run/stub.conf", TIME + 5),
        ("etc/keep", "keep", TIME),
        ("old/", "", TIME),
        ("old/file", "old", TIME),
    ])
}

/// Removes a folder, changes a file, and repeats another.
fn upper() -> Vec<u8> {
    tar(&[
        ("etc/", "", TIME),
        ("etc/keep", "keep", TIME),
        ("etc/new", "new", TIME + 9),
        (".wh.old", "", TIME),
        ("etc/.wh.hosts", "", TIME),
    ])
}

#[tokio::test]
async fn scratch_is_nothing() {
    let bench = Bench::new();
    let outcome = bench.execute("scratch", attributes([]), LockFile::default()).await.unwrap();
    assert!(outcome.layers.is_empty());
    assert_eq!(
        *metadata(&outcome),
        LayerMetadata { source_date: default_source_date(), ..LayerMetadata::default() }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tarball_is_one_layer_whatever_it_is_packed_with() {
    if !is_root("a_tarball_is_one_layer_whatever_it_is_packed_with") {
        return;
    }
    let bench = Bench::new();
    let archive = tar(&[
        ("etc/", "", TIME),
        ("etc/hosts", "own", TIME),
        ("etc/.wh.name", "a name like any other", TIME),
        ("dev/", "", TIME),
        ("dev/leftover", "x", TIME + 100),
        ("run/lock/", "", TIME),
        ("deep/er/file", "x", TIME + 7),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&archive).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&archive).unwrap();
    let packed = [
        ("plain.tar", archive.clone()),
        ("packed.tar.gz", gzip.finish().unwrap()),
        ("packed.tar.xz", xz.finish().unwrap()),
        ("packed.tar.zst", zstd::encode_all(&*archive, 3).unwrap()),
    ];
    let mut layers = Vec::new();
    for (name, bytes) in packed {
        fs_err::write(bench.path(name), bytes).unwrap();
        let outcome = bench.tarball(name).await.unwrap();
        let sum = run("sha256sum", &[bench.path(name).to_str().unwrap()]);
        let sum = format!("sha256:{}", sum.split(' ').next().unwrap());
        assert_eq!(metadata(&outcome).materials, [(name.to_owned(), sum)]);
        assert_eq!(metadata(&outcome).source_date, TIME as i64 + 7, "the newest file that is kept");
        layers.push(outcome.layers.clone());
        // The root's time would differ from one unpacking to the next.
        std::thread::sleep(std::time::Duration::from_millis(5));
        if name == "plain.tar" {
            for path in ["etc/hosts", "etc/.wh.name", "run/lock", "dev", "deep/er/file"] {
                assert!(bench.look(&outcome, path).is_some(), "{path}");
            }
            assert_eq!(bench.look(&outcome, "dev/leftover"), None);
            let root = Node::Directory { metadata: Metadata::of_root(0o755, 0), opaque: false };
            assert_eq!(bench.look(&outcome, ""), Some(root));
        }
    }
    assert_eq!(layers[0].len(), 1);
    assert!(layers.iter().all(|other| *other == layers[0]), "{layers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tarball_is_refused() {
    let bench = Bench::new();
    fs_err::write(bench.path("noise"), [b'x'; 5000]).unwrap();
    fs_err::write(bench.path("empty"), b"").unwrap();
    fs_err::write(bench.path("cut.tar"), &lowest()[..1500]).unwrap();
    fs_err::create_dir(bench.path("folder")).unwrap();
    for (name, message) in [
        ("noise", "`noise`: cannot read the archive"),
        ("empty", "`empty` is empty"),
        ("cut.tar", "`cut.tar`: cannot read the archive"),
        ("folder", "`folder` is a folder, not a tarball"),
    ] {
        if name == "cut.tar" && !is_root("what_is_no_tarball_is_refused: cut") {
            continue;
        }
        let (text, class) = problem(bench.tarball(name).await);
        assert!(text.starts_with(message), "{text}");
        assert_eq!(class, Class::Input, "{text}");
    }
    assert_eq!(fs_err::read_dir(bench.cache.root().join("layers")).unwrap().count(), 0, "nothing is left");
}

fn config() -> serde_json::Value {
    json!({"Env": ["PATH=/bin", "A=1", "A=2"], "User": "app", "WorkingDir": "/srv", "Cmd": ["serve"], "Entrypoint": null,
        "Shell": ["/bin/bash", "-c"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
        "StopSignal": "SIGINT"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_layout_keeps_its_layers_and_its_configuration() {
    if !is_root("an_image_of_a_layout_keeps_its_layers_and_its_configuration") {
        return;
    }
    let bench = Bench::new();
    let mut layout = HandMade::new(&bench.path("base"));
    // The third says what the first two have said already.
    let again = tar(&[("etc/", "", TIME), ("etc/new", "new", TIME + 9)]);
    let digest =
        layout.tag(layout.image("amd64", &[lowest(), upper(), again, tar(&[])], CREATED, &config()), "v1");
    let outcome = bench.layout("base", None).await.unwrap();
    assert_eq!(outcome.layers.len(), 2, "layers that change nothing are none");
    for (path, is_there) in
        [("etc/hosts", false), ("old", false), ("old/file", false), ("etc/keep", true), ("etc/new", true)]
    {
        assert_eq!(bench.look(&outcome, path).is_some(), is_there, "{path}");
    }
    let manifests = bench.manifests(&outcome);
    let names = |index: usize| -> Vec<String> {
        manifests[index].entries.iter().map(|entry| entry.path.to_string()).collect()
    };
    assert_eq!(names(1), ["/etc/hosts", "/etc/new", "/old"], "equal entries are dropped");
    let expected = LayerMetadata {
        steps: Vec::new(),
        source_date: CREATED_SECONDS,
        materials: vec![("base".to_owned(), digest)],
        base: ChainState {
            env: [("A", "2"), ("PATH", "/bin")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            user: Some("app".to_owned()),
            workdir: Some("/srv".to_owned()),
            shell: Some(vec!["/bin/bash".to_owned(), "-c".to_owned()]),
            entrypoint: None,
            cmd: Some(vec!["serve".to_owned()]),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            exposed_ports: ["80/tcp".to_owned()].into(),
            volumes: ["/data".to_owned()].into(),
            stop_signal: Some("SIGINT".to_owned()),
        },
    };
    assert_eq!(*metadata(&outcome), expected);

    // An image with more on top of the same layers unpacks only what is new.
    let more = tar(&[("etc/more", "more", TIME)]);
    layout.tag(layout.image("amd64", &[lowest(), upper(), more], CREATED, &json!(null)), "v2");
    bench.events.lock().unwrap().clear();
    let second = bench.layout("base", Some("v2")).await.unwrap();
    assert_eq!(second.layers[..2], outcome.layers[..]);
    assert_eq!(second.layers.len(), 3);
    assert_eq!(metadata(&second).base, ChainState::default());
    let first_unpacked = bench.events.lock().unwrap().iter().find_map(|event| match event {
        Event::Progress { done, .. } => Some(*done),
        _ => None,
    });
    assert_eq!(first_unpacked, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn root_and_a_user_namespace_make_the_same_layers() {
    let test = "root_and_a_user_namespace_make_the_same_layers";
    if !is_root(test) || !has(&["unshare"], test) {
        return;
    }
    let bench = Bench::new();
    let mut layout = HandMade::new(&bench.path("base"));
    let opaque = tar(&[("old/", "", TIME), ("old/.wh..wh..opq", "", TIME), ("old/other", "x", TIME)]);
    layout.tag(layout.image("amd64", &[lowest(), opaque, upper()], CREATED, &json!({})), "v1");
    let outcome = bench.layout("base", None).await.unwrap();
    assert_eq!(outcome.layers.len(), 3);
    let layers = format!("layers: {:?}", outcome.layers);
    println!("{layers}");
    if XattrNamespace::of_process() == XattrNamespace::User {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let name = format!("base::tests::{test}");
    let inside = run("unshare", &["-Ur", program.to_str().unwrap(), "--exact", &name, "--nocapture"]);
    assert!(inside.contains(&layers), "outside: {layers}; inside: {inside}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_layout_does_not_have_is_told_with_what_it_has() {
    let bench = Bench::new();
    let mut layout = HandMade::new(&bench.path("base"));
    let first = layout.tag(layout.image("arm64", &[tar(&[])], CREATED, &json!({})), "one");
    layout.tag(layout.image("riscv64", &[tar(&[("x", "x", TIME)])], CREATED, &json!({})), "two");
    fs_err::write(bench.path("file"), "x").unwrap();
    fs_err::create_dir(bench.path("folder")).unwrap();
    for (name, tag, message) in [
        (
            "base",
            None,
            "`base`: the layout has several images; name one of `one`, `two` | name it with `ref`",
        ),
        ("base", Some("three"), "`base`: there is no image `three` in the layout; it has `one`, `two` | "),
        (
            "base",
            Some(first.as_str()),
            "`base`: the image does not exist for `linux/amd64`; it has `linux/arm64` | name another image, or another platform",
        ),
        ("file", None, "`file` is a file, not the folder of an OCI layout | unpack the archive first"),
    ] {
        let (text, class) = problem(bench.layout(name, tag).await);
        assert_eq!((text.as_str(), class), (message, Class::Input));
    }
    let (text, _) = problem(bench.layout("folder", None).await);
    assert!(text.contains("is not an OCI layout"), "{text}");
    let (text, _) = problem(bench.execute("oci_base", attributes([]), LockFile::default()).await);
    assert!(text.starts_with("`oci_base` needs `image` or `layout`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_pushed_comes_back_as_it_was() {
    let test = "an_image_that_was_pushed_comes_back_as_it_was";
    if !is_root(test) || !has(&["docker-registry", "skopeo"], test) {
        return;
    }
    let bench = Bench::new();
    let mut made = HandMade::new(&bench.path("made"));
    made.tag(made.image("amd64", &[lowest(), upper()], CREATED, &json!({})), "made");
    let original = bench.layout("made", None).await.unwrap();
    let manifests = bench.manifests(&original);
    let trees: Vec<_> = original.layers.iter().map(|delta| bench.cache.layer_tree(delta)).collect();
    let steps = manifests.iter().zip(&trees).map(|(manifest, tree)| Step {
        layer: Some(LayerSource { manifest, tree }),
        created_by: "a step".to_owned(),
    });
    let image = Image {
        platform: Platform::linux("amd64"),
        config: ImageConfig { cmd: vec!["serve".to_owned()], ..ImageConfig::default() },
        steps: steps.collect(),
        created: CREATED_SECONDS,
    };
    let options = OciOptions {
        layers: LayerPolicy::Steps,
        compression: Compression::default(),
        workers: NonZeroUsize::MIN,
        leave_out: None,
        ref_name: Some("v1"),
        reuse: None,
    };
    write_layout(&bench.path("written"), &[image], &options).unwrap();
    let registry = Registry::start();
    let reference = registry.push(&bench.path("written"), "v1", "team/app:1.0");

    // The tag is looked up as `update` does it, and the image is pulled into an empty cache by its digest.
    let other = Bench::new();
    let request = PinRequest::Image(ImageRequest { image: reference.clone(), platform: platform() });
    let lock = Resolver::new(other.config()).resolve(&[request], &LockFile::default()).await.unwrap();
    let pull = || other.execute("oci_base", attributes([("image", Value::string(&reference))]), lock.clone());
    let pulled = pull().await.unwrap();
    assert_eq!(pulled.layers, original.layers);
    assert_eq!(metadata(&pulled).source_date, CREATED_SECONDS);
    assert_eq!(metadata(&pulled).base.cmd, Some(vec!["serve".to_owned()]));
    let pin = lock.image_pins().next().unwrap();
    assert_eq!(metadata(&pulled).materials, [(reference.clone(), pin.digest.clone())]);

    // What is in the cache needs no registry any more.
    let missing = PinRequest::Image(ImageRequest { image: format!("{reference}x"), platform: platform() });
    let error = Resolver::new(other.config()).resolve(&[missing], &LockFile::default()).await.unwrap_err();
    assert!(error.0[0].message.contains("does not exist in its registry"), "{}", error.0[0].message);
    drop(registry);
    assert_eq!(pull().await.unwrap().layers, original.layers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_lacks_or_has_damaged_is_told() {
    let test = "what_a_registry_lacks_or_has_damaged_is_told";
    if !is_root(test) || !has(&["docker-registry", "skopeo"], test) {
        return;
    }
    let bench = Bench::new();
    let mut layout = HandMade::new(&bench.path("base"));
    let arm = layout.image("arm64", &[lowest()], CREATED, &json!({}));
    let riscv = layout.image("riscv64", &[upper()], CREATED, &json!({}));
    let index = layout.tag(layout.index(&[arm, riscv]), "foreign");
    let native = layout.image("amd64", &[lowest(), upper()], CREATED, &json!({}));
    let upper = {
        let digest = native["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let text = fs_err::read(bench.path("base/blobs/sha256").join(digest)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
        manifest["layers"][1]["digest"].as_str().unwrap().to_owned()
    };
    let both = layout.index(std::slice::from_ref(&native));
    let several = layout.tag(both, "several");
    let digest = layout.tag(native, "native");
    let registry = Registry::start();
    let foreign = registry.push(&bench.path("base"), "foreign", "team/foreign:1");
    let reference = registry.push(&bench.path("base"), "native", "team/native:1");
    registry.push(&bench.path("base"), "several", "team/native:2");

    let (text, class) = problem(bench.image(&foreign, &index).await);
    assert_eq!(
        text,
        format!(
            "`{foreign}`: the image does not exist for `linux/amd64`; it has `linux/arm64`, `linux/riscv64` \
             | name another image, or another platform"
        )
    );
    assert_eq!(class, Class::Input);

    let nothing = format!("sha256:{}", "0".repeat(64));
    let (text, class) = problem(bench.image(&reference, &nothing).await);
    assert_eq!(
        text,
        format!(
            "the registry no longer has `{nothing}` of `{reference}` | \
             `imgbuild update` looks up what the image's name means now"
        )
    );
    assert_eq!(class, Class::Remote);

    // Same length, another byte.
    let stored = registry.blob(&upper);
    let whole = fs_err::read(&stored).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs_err::write(&stored, damaged).unwrap();
    let (text, class) = problem(bench.image(&reference, &digest).await);
    assert!(
        text.starts_with(&format!("what the registry sent for `{upper}` of `{reference}` is something else")),
        "{text}"
    );
    assert_eq!(class, Class::Remote);

    fs_err::remove_file(&stored).unwrap();
    let (text, class) = problem(bench.image(&reference, &digest).await);
    assert!(text.starts_with(&format!("the registry no longer has `{upper}`")), "{text}");
    assert_eq!(class, Class::Remote);

    fs_err::write(&stored, whole).unwrap();
    let outcome = bench.image(&reference, &digest).await.unwrap();
    assert_eq!(outcome.layers.len(), 2);
    assert_eq!(
        bench.image(&reference, &several).await.unwrap().layers,
        outcome.layers,
        "a pinned index will do"
    );
}

#[test]
fn dates_that_mean_nothing_are_passed_over() {
    let newest = Some(TIME as i64);
    assert_eq!(source_date(Some(CREATED), newest), CREATED_SECONDS);
    assert_eq!(source_date(Some("0001-01-01T00:00:00Z"), newest), TIME as i64);
    assert_eq!(source_date(Some("1970-01-01T00:00:00Z"), Some(0)), default_source_date());
    assert_eq!(source_date(Some("yesterday"), newest), TIME as i64);
    assert_eq!(source_date(None, None), default_source_date());
}
