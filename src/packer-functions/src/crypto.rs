//! Digests, password hashes, RSA, UUIDs.

use std::sync::Arc;

use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine;
use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions};
use imgbuild_hcl::value::{Type, Value};
use sha2::Digest;
use uuid::Uuid;

use crate::encoding::{STANDARD, base64};
use crate::host::Host;
use crate::{Returned, number, text, wrong};

/// The cost of a password hash if none is asked for, and if less than 4 is.
const DEFAULT_COST: i64 = 10;
/// The most bytes of a password that count.
const LONGEST_PASSWORD: usize = 72;

pub(crate) fn add(functions: &mut Functions, host: &Arc<dyn Host>) {
    functions
        .add("md5", digest("The MD5 digest, in hex digits.", |bytes| hex::encode(md5::Md5::digest(bytes))));
    functions.add(
        "sha1",
        digest("The SHA-1 digest, in hex digits.", |bytes| hex::encode(sha1::Sha1::digest(bytes))),
    );
    functions.add(
        "sha256",
        digest("The SHA-256 digest, in hex digits.", |bytes| hex::encode(sha2::Sha256::digest(bytes))),
    );
    functions.add(
        "sha512",
        digest("The SHA-512 digest, in hex digits.", |bytes| hex::encode(sha2::Sha512::digest(bytes))),
    );
    let asking = Arc::clone(host);
    let bcrypt = Function::new("A bcrypt hash of a password, with a new salt at each call.")
        .parameter(text("str"))
        .variadic(number("cost"))
        .returns(Type::String)
        .runs(move |a| bcrypt(a, asking.as_ref()));
    functions.add("bcrypt", bcrypt);
    let rsadecrypt = Function::new("A text that was encrypted with an RSA key (PKCS #1 v1.5).")
        .parameter(text("ciphertext"))
        .parameter(text("privatekey"))
        .returns(Type::String)
        .runs(rsadecrypt);
    functions.add("rsadecrypt", rsadecrypt);
    let asking = Arc::clone(host);
    let uuidv4 = Function::new("A new random UUID at each call.").returns(Type::String).runs(move |_| {
        let mut bytes = [0; 16];
        asking.random(&mut bytes);
        Ok(Value::string(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()))
    });
    functions.add("uuidv4", uuidv4);
    let uuidv5 = Function::new("The UUID of a name in a namespace.")
        .parameter(text("namespace"))
        .parameter(text("name"))
        .returns(Type::String)
        .runs(uuidv5);
    functions.add("uuidv5", uuidv5);
}

fn digest(description: &'static str, run: fn(&[u8]) -> String) -> Function {
    Function::new(description)
        .parameter(text("str"))
        .returns(Type::String)
        .runs(move |a| Ok(Value::string(run(a.str(0).as_bytes()))))
}

fn bcrypt(arguments: &Arguments<'_>, host: &dyn Host) -> Returned {
    let cost = match arguments.len() {
        1 => DEFAULT_COST,
        2 => arguments.int(1)?,
        count => {
            return Err(CallError::new(format!("it takes a text and at most a cost, but there are {count}")));
        }
    };
    let cost = if cost < 4 { DEFAULT_COST } else { cost };
    let cost = u32::try_from(cost)
        .ok()
        .filter(|cost| *cost <= 31)
        .ok_or_else(|| wrong(1, format!("the cost {cost} is not from 4 to 31")))?;
    let password = arguments.str(0);
    if password.len() > LONGEST_PASSWORD {
        let message = format!("it has {} bytes, but only {LONGEST_PASSWORD} count", password.len());
        return Err(wrong(0, message).hint("use a shorter password, or a digest of it"));
    }
    let mut salt = [0; 16];
    host.random(&mut salt);
    let hash =
        bcrypt::hash_with_salt(password, cost, salt).map_err(|error| CallError::new(error.to_string()))?;
    Ok(Value::string(hash.format_for_version(bcrypt::Version::TwoA)))
}

fn rsadecrypt(arguments: &Arguments<'_>) -> Returned {
    let ciphertext = base64(arguments)?;
    let key = private_key(arguments.str(1)).map_err(|reason| {
        wrong(1, reason)
            .hint("`openssl pkey -in KEY` and `ssh-keygen -p -m PEM -f KEY` write keys that can be used")
    })?;
    let mut plaintext = vec![0; key.min_output_size()];
    let plaintext = key
        .decrypt(&ciphertext, &mut plaintext)
        .map_err(|_| wrong(0, "it cannot be decrypted with this key"))?;
    let plaintext =
        str::from_utf8(plaintext).map_err(|_| wrong(0, "what it decrypts to is not text in UTF-8"))?;
    Ok(Value::string(plaintext))
}

fn private_key(pem: &str) -> Result<Pkcs1PrivateDecryptingKey, String> {
    let (label, der) = pem_block(pem)?;
    let pkcs8 = match label {
        "PRIVATE KEY" => der,
        "RSA PRIVATE KEY" => wrapped(&der),
        "ENCRYPTED PRIVATE KEY" => return Err("the key is encrypted, and there is no passphrase".to_owned()),
        other => return Err(format!("`{other}` is no RSA key in the PEM formats of PKCS #1 or PKCS #8")),
    };
    PrivateDecryptingKey::from_pkcs8(&pkcs8)
        .map_err(|_| "the key is not a valid RSA key of 2048 to 8192 bits".to_owned())
        .and_then(|key| Pkcs1PrivateDecryptingKey::new(key).map_err(|_| "the key cannot be used".to_owned()))
}

fn pem_block(pem: &str) -> Result<(&str, Vec<u8>), String> {
    let none = || "there is no key in PEM format (`-----BEGIN RSA PRIVATE KEY-----`)".to_owned();
    let (_, rest) = pem.split_once("-----BEGIN ").ok_or_else(none)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(none)?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----")).ok_or_else(none)?;
    if body.contains("Proc-Type:") && body.contains("ENCRYPTED") {
        return Err("the key is encrypted, and there is no passphrase".to_owned());
    }
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| "the PEM format of the key is damaged".to_owned())?;
    Ok((label, der))
}

/// A key of PKCS #1 within the structure of PKCS #8: version 0, the algorithm `rsaEncryption`, the key.
fn wrapped(pkcs1: &[u8]) -> Vec<u8> {
    const VERSION_AND_ALGORITHM: &[u8] = &[
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00,
    ];
    der(0x30, &[VERSION_AND_ALGORITHM, &der(0x04, pkcs1)].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | significant.len() as u8);
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}

fn uuidv5(arguments: &Arguments<'_>) -> Returned {
    let namespace = match arguments.str(0) {
        "dns" => Uuid::NAMESPACE_DNS,
        "url" => Uuid::NAMESPACE_URL,
        "oid" => Uuid::NAMESPACE_OID,
        "x500" => Uuid::NAMESPACE_X500,
        other => Uuid::parse_str(other).map_err(|_| {
            wrong(0, format!("`{other}` is no namespace"))
                .hint("the namespaces are `dns`, `url`, `oid`, `x500`, or any UUID")
        })?,
    };
    Ok(Value::string(Uuid::new_v5(&namespace, arguments.str(1).as_bytes()).to_string()))
}
