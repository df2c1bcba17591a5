//! The file about the upgrade for which a node stops, for supervisors that install programs: `data/upgrade-info.json`, in the
//! shape that cosmovisor reads.

use std::path::{Path, PathBuf};

use files::{Access, Existing, write as write_file};
use serde_json::json;
use types::UpgradePlan;

/// Returns the path of the file in the data folder of a home.
pub fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("upgrade-info.json")
}

/// Writes the file. A failure is logged: the node stops anyway, with a sentence that says the same.
pub fn write(data_dir: &Path, plan: &UpgradePlan) {
    let info = json!({ "name": plan.name, "height": plan.height.0, "info": plan.info });
    let file = file(data_dir);
    if let Err(error) = write_file(&file, info.to_string().as_bytes(), Access::Public, Existing::Replace) {
        tracing::error!(target: "main", %error, "the file about the upgrade cannot be written");
    }
}

#[cfg(test)]
mod tests {
    use types::Height;

    use super::*;

    #[test]
    fn the_file_has_the_shape_that_cosmovisor_reads() {
        let folder = tempfile::tempdir().unwrap();
        let plan =
            |height| UpgradePlan { name: "v2".into(), height: Height(height), info: "https://example.org".into() };
        write(folder.path(), &plan(6));
        write(folder.path(), &plan(7));
        let text = std::fs::read_to_string(file(folder.path())).unwrap();
        assert_eq!(text, r#"{"height":7,"info":"https://example.org","name":"v2"}"#);
    }
}
