//! Writes the seeds of each property into a folder, one folder for each property and one file for each seed:
//! `cargo run -p cairn-properties --example seeds -- fuzz/corpus`.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| "fuzz/corpus".into());
    for property in properties::all() {
        let folder = Path::new(&folder).join(property.name);
        fs::create_dir_all(&folder)?;
        for (index, seed) in (property.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{index}")), seed)?;
        }
    }
    Ok(())
}
