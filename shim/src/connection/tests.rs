use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn head(length: u32, stream: u32, kind: u8) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind, 0]);
    bytes
}

fn pair() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::new(ours, Arc::new(())), theirs)
}

/// Runs `body`, with a clock that jumps when nothing else is to be done.
fn run(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(body);
}

#[test]
fn borders_are_found_however_the_bytes_come() {
    let mut bytes = head(3, 1, REQUEST);
    bytes.extend_from_slice(b"abc");
    bytes.extend_from_slice(&head(0, 3, RESPONSE));
    for size in 1..=bytes.len() {
        let mut frames = Frames::default();
        let mut heads = Vec::new();
        for piece in bytes.chunks(size) {
            frames.follow(piece, |head| heads.push((head.stream, head.kind)));
        }
        assert_eq!(heads, [(1, REQUEST), (3, RESPONSE)], "pieces of {size}");
        assert!(frames.began.is_none(), "pieces of {size}");
    }
    let mut frames = Frames::default();
    frames.follow(&bytes[..12], |_| ());
    assert!(frames.began.is_some());
}

#[test]
fn half_a_message_is_waited_for_30_seconds_and_silence_for_ever() {
    run(async {
        let (mut connection, mut caller) = pair();
        let mut buffer = [0; 64];
        let idle = tokio::time::timeout(ARRIVAL_LIMIT * 10, connection.read(&mut buffer));
        assert!(idle.await.is_err(), "an idle connection was ended");

        caller.write_all(&head(100, 1, REQUEST)).await.unwrap();
        assert_eq!(connection.read(&mut buffer).await.unwrap(), HEADER_BYTES);
        let began = Instant::now();
        // A byte now and then does not help.
        let drip = async {
            loop {
                tokio::time::sleep(ARRIVAL_LIMIT / 10).await;
                caller.write_all(b"x").await.unwrap();
            }
        };
        let read = async {
            loop {
                if let Err(error) = connection.read(&mut buffer).await {
                    return error;
                }
            }
        };
        let error = tokio::select! {
            error = read => error,
            never = drip => never,
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() <= ARRIVAL_LIMIT + Duration::from_secs(1));
    });
}

#[test]
fn what_waits_for_its_answer_is_bounded_and_answers_make_room() {
    run(async {
        const MESSAGE_BYTES: usize = 1 << 20;
        let (mut connection, mut caller) = pair();
        let mut buffer = vec![0; MESSAGE_BYTES];
        let (mut sent, mut next) = (0, 1);
        while sent <= WAITING_LIMIT_BYTES {
            let mut bytes = head(1 << 20, next, REQUEST);
            bytes.resize(HEADER_BYTES + MESSAGE_BYTES, 0);
            let read = async {
                let mut left = HEADER_BYTES + MESSAGE_BYTES;
                while left > 0 {
                    left -= connection.read(&mut buffer).await.unwrap();
                }
            };
            let (written, ()) = tokio::join!(caller.write_all(&bytes), read);
            written.unwrap();
            sent += MESSAGE_BYTES + OVERHEAD_BYTES;
            next += 2;
        }
        caller.write_all(&head(0, next, REQUEST)).await.unwrap();
        let late = tokio::time::timeout(Duration::from_secs(5), connection.read(&mut buffer));
        assert!(late.await.is_err(), "one more was read");

        connection.write_all(&head(0, 1, RESPONSE)).await.unwrap();
        assert_eq!(connection.read(&mut buffer).await.unwrap(), HEADER_BYTES);
    });
}
