import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;

/** What programs on a JVM do: compiled code, threads, collections, an HTTP server, a child, mapped files. */
public class Main {
    public static void main(String[] arguments) throws Exception {
        var sum = IntStream.range(0, 2_000_000).parallel().mapToLong(n -> new int[] {n}[0]).sum();
        expect(sum == 1_999_999_000_000L, "sum " + sum);
        System.gc();

        var pool = Executors.newFixedThreadPool(4);
        expect(pool.submit(() -> 6 * 7).get() == 42, "a thread");
        pool.shutdown();

        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, 6);
            exchange.getResponseBody().write("served".getBytes());
            exchange.close();
        });
        server.start();
        var uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/");
        var answer = HttpClient.newHttpClient()
                .send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
        expect(answer.body().equals("served"), "answer " + answer.body());
        server.stop(0);

        var child = new ProcessBuilder("/bin/sh", "-c", "echo from a child").start();
        var said = new String(child.getInputStream().readAllBytes());
        expect(child.waitFor() == 0 && said.equals("from a child\n"), "child said " + said);

        Path file = Files.createTempFile("check", ".bin");
        try (var channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            var mapped = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4096);
            mapped.putInt(0, 7);
            mapped.force();
        }
        expect(Files.readAllBytes(file)[3] == 7, "a mapped file");
        System.out.println("all is well");
        System.exit(0);
    }

    private static void expect(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }
}
