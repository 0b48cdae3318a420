"""What programs in Python do: threads, processes, a database, TLS, temporary files, sockets."""

import ctypes
import multiprocessing
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import threading


def square(number):
    return number * number


def main():
    seen = []
    threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(8)), seen

    # Forks, and uses POSIX semaphores in /dev/shm.
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]

    said = subprocess.run(["/bin/sh", "-c", "echo from a child"], capture_output=True, check=True)
    assert said.stdout == b"from a child\n", said

    with tempfile.TemporaryDirectory() as folder:
        base = sqlite3.connect(folder + "/base")
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("CREATE TABLE t (n INTEGER)")
        base.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(10)])
        base.commit()
        assert base.execute("SELECT sum(n) FROM t").fetchone() == (45,)
        base.close()

    assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED
    assert ssl.RAND_bytes(16) != ssl.RAND_bytes(16)
    # libffi makes a closure, which needs memory to execute from.
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(square)
    assert callback(7) == 49

    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            accepted.sendall(b"hello")
            accepted.close()
            assert client.recv(16) == b"hello"


if __name__ == "__main__":
    main()
    print("all is well")
