//! What a file is that is no TensorFlow Lite file, by its first bytes, and what to do about it: most people who meet the refusal hold a
//! file that can be converted, or that a download put in the model's place.

/// A phrase for a message; None of a file that isn't known.
pub(super) fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let starts = |mark: &[u8]| bytes.starts_with(mark);
    let text = bytes.trim_ascii_start();
    let begins =
        |words: &str| text.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words.as_bytes()));
    Some(match bytes {
        _ if starts(b"version https://git-lfs.github.com/spec/") => {
            "a Git LFS pointer, which only names the model: `git lfs pull` fetches it, or the download button of the site does"
        }
        _ if begins("<!doctype html") || begins("<html") => {
            "a web page: the download gave a page, such as a log-in or an error, in place of the file; look for its raw address"
        }
        _ if begins("<?xml") || begins("<net") => "an XML file, such as OpenVINO's: convert the network that it was made of",
        _ if starts(b"\x1f\x8b") => "a gzip archive: unpack it, and name the .tflite file in it",
        _ if starts(b"PK\x03\x04") => of_zip(bytes),
        _ if starts(b"\x89HDF\r\n\x1a\n") => {
            "a Keras model in HDF5: TFLiteConverter.from_keras_model converts it, with representative pictures for int8"
        }
        [0x80, 2..=5, ..] => "a PyTorch file, or another pickle: export the network to ONNX, and convert that with onnx2tf -oiqt",
        // saved_model_schema_version 1, then the first graph.
        [0x08, 0x01, 0x12, ..] => {
            "a SavedModel of TensorFlow: TFLiteConverter.from_saved_model converts its folder, with representative pictures for int8"
        }
        // ir_version, then the producer, the domain, the graph or the operators.
        [0x08, 3..=20, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..] => {
            "an ONNX model: onnx2tf -oiqt converts it, and NAME_full_integer_quant.tflite is the file to take"
        }
        _ if is_safetensors(bytes) => "weights without a network (safetensors): export the network to ONNX, and convert that",
        _ => return None,
    })
}

/// The names of files in a zip archive stand in front of each, as they are.
fn of_zip(bytes: &[u8]) -> &'static str {
    let has = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    if has(b"/data.pkl") || has(b"constants.pkl") {
        "a PyTorch file: export the network to ONNX, and convert that with onnx2tf -oiqt"
    } else if has(b"model.weights.h5") {
        "a Keras model: TFLiteConverter.from_keras_model converts it, with representative pictures for int8"
    } else {
        "a zip archive: unpack it, and name the .tflite file in it"
    }
}

/// The length of a JSON object, as 64 bits, and the object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.starts_with(b"{\"") && u64::from_le_bytes(*length) < 100_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_known_by_its_first_bytes() {
        for (bytes, words) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"[..], "Git LFS pointer"),
            (b"\n  <!DOCTYPE html><title>Sign in</title>", "web page"),
            (b"<HTML>", "web page"),
            (b"<?xml version=\"1.0\"?><net name=\"x\">", "XML"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"PK\x03\x04\x14\0\0\0\0\0net/data.pkl", "PyTorch"),
            (b"PK\x03\x04\x14\0\0\0\0\0model.weights.h5", "Keras"),
            (b"PK\x03\x04\x14\0\0\0\0\0a.tflite", "zip"),
            (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
            (b"\x80\x02}q\0", "PyTorch"),
            (b"\x08\x01\x12\x80\x10", "SavedModel"),
            (b"\x08\x08\x12\x07pytorch", "ONNX"),
            (b"\x08\x07:\xff\x10", "ONNX"),
            (b"\x40\0\0\0\0\0\0\0{\"w\":{}}", "safetensors"),
        ] {
            assert!(kind_of(bytes).is_some_and(|kind| kind.contains(words)), "{words}: {:?}", kind_of(bytes));
        }
        for bytes in [&b""[..], b"TFL3", b"\x1c\0\0\0TFL4", b"hello", b"\x7fELF", b"<", b"\x08", b"{\"a\": 1}"] {
            assert_eq!(kind_of(bytes), None, "{bytes:?}");
        }
    }
}
