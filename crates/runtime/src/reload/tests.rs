use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Number {
    _directory: TempDir,
    file: PathBuf,
    value: Arc<Reloading<u32>>,
}

/// A number in a file, which is followed.
fn number() -> Number {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("number");
    fs::write(&file, "1").unwrap();
    let path = file.clone();
    let read = move || fs::read_to_string(&path).unwrap().parse::<u32>();
    let number = Reloading::new("number", vec![file.clone()], SECOND, read).unwrap();
    Number { _directory: directory, file, value: number }
}

#[tokio::test]
async fn reload_takes_a_changed_file() {
    tokio::time::pause();
    let Number { file, value: number, .. } = &number();
    let mut versions = number.versions();
    fs::write(file, "22").unwrap();
    versions.changed().await.unwrap();
    assert_eq!(*number.get(), 22);
}

#[tokio::test]
async fn reload_keeps_the_old_value_where_the_new_file_is_bad_and_takes_the_next_good_one() {
    tokio::time::pause();
    let Number { file, value: number, .. } = &number();
    let mut versions = number.versions();
    fs::write(file, "many").unwrap();
    assert!(timeout(SECOND * 10, versions.changed()).await.is_err());
    assert_eq!(*number.get(), 1);
    fs::write(file, "333").unwrap();
    versions.changed().await.unwrap();
    assert_eq!(*number.get(), 333);
}

#[tokio::test(start_paused = true)]
async fn file_that_is_replaced_by_one_of_the_same_length_and_time_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (file, next) = (directory.path().join("file"), directory.path().join("next"));
    for path in [&file, &next] {
        fs::write(path, "a").unwrap();
    }
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&next).unwrap().set_modified(time).unwrap();
    let mut watched = WatchedFiles::of([file.clone()]);
    fs::rename(&next, &file).unwrap();
    assert!(watched.look());
}

#[tokio::test(start_paused = true)]
async fn written_file_is_noticed_after_an_interval_without_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let mut watched = WatchedFiles::of([file.clone()]);
    fs::write(&file, "a").unwrap();
    assert!(!watched.changed_after(SECOND).await, "it has only just changed");
    fs::write(&file, "ab").unwrap();
    assert!(!watched.changed_after(SECOND).await, "it still changes");
    assert!(watched.changed_after(SECOND).await, "it is at rest");
    assert!(!watched.changed_after(SECOND).await, "that was told");
}

#[tokio::test(start_paused = true)]
async fn file_that_was_noted_when_it_was_read_is_not_noticed_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let mut watched = WatchedFiles::of([file.clone()]);
    fs::write(&file, "a").unwrap();
    watched.note();
    assert!(timeout(SECOND * 60, watched.changed(SECOND)).await.is_err());
}
