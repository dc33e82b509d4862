//! The first steps of a stranger: `flow demo`, `flow run`, and the curl line it prints.

use mail_parser::MessageParser;

use crate::support::process::{Process, command, flow};
use crate::support::suite::Suite;
use crate::support::wait::eventually;

pub(crate) fn register(suite: &mut Suite) {
    suite.story_with(
        "the_demo_shows_an_order_becoming_a_mail",
        &[],
        the_demo_shows_an_order,
    );
    suite.story_with(
        "the_first_start_prints_a_curl_line_that_works",
        &[],
        the_first_start_prints_a_curl_line,
    );
}

async fn the_demo_shows_an_order() {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..=2 {
        let told = flow(folder.path(), &["demo"], &[]).await;
        let line = |label: &str| {
            let found = told.lines().find_map(|line| line.strip_prefix(label));
            found
                .unwrap_or_else(|| panic!("{label} is not in {told}"))
                .trim()
                .to_owned()
        };
        let invoice = line("invoice ");
        assert!(invoice.ends_with(&format!("-{number:06}")), "{invoice}");
        for stage in ["place", "provision", "issue", "render", "deliver"] {
            assert!(
                told.contains(&format!("  {stage:10} done")),
                "{stage} is not done in {told}"
            );
        }
        let pdf = std::fs::read(folder.path().join(line("PDF "))).unwrap();
        assert!(pdf.starts_with(b"%PDF-"));
        let mail = std::fs::read(folder.path().join(line("mail "))).unwrap();
        let mail = MessageParser::default().parse(&mail).unwrap();
        assert_eq!(mail.attachments().next().unwrap().contents(), pdf);
        assert_eq!(line("trace ").len(), 32);
        assert!(told.contains("from POST to mail in "));
    }
}

async fn the_first_start_prints_a_curl_line() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--listen", "127.0.0.1:0"];
    let mut process = Process::start("run", folder.path(), &arguments, &[]);
    process.address("running: http://").await;
    let output = eventually("the curl line", async || {
        let output = process.output();
        output.contains("-d '{").then_some(output)
    })
    .await;
    let lines: Vec<_> = output
        .lines()
        .skip_while(|line| !line.trim().starts_with("curl"))
        .take(4)
        .collect();
    let curl = lines.join("\n");
    // Without curl here the line is checked by its parts only.
    assert!(
        curl.contains("/v1/orders") && curl.contains("Authorization: Bearer cf_"),
        "{curl}"
    );
    if let Ok(answer) = command("sh").args(["-c", &curl]).output().await
        && answer.status.code() != Some(127)
    {
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(answer.starts_with("HTTP/1.1 202"), "{curl}: {answer}");
        let mails = folder.path().join("data/mail");
        eventually("the mail", async || {
            let mails = std::fs::read_dir(&mails).ok()?;
            mails
                .filter_map(Result::ok)
                .any(|entry| entry.path().extension().is_some_and(|e| e == "eml"))
                .then_some(())
        })
        .await;
    }
    assert!(process.terminate().await.success());
    // A second start keeps what is there and prints no key.
    let mut process = Process::start("run", folder.path(), &arguments, &[]);
    eventually("the second start", async || {
        process.output().contains("flow key create").then_some(())
    })
    .await;
    assert!(process.terminate().await.success());
}
