import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Puts a shared library beneath /tmp and loads it, as netty, snappy, JNA and the SQLite driver do. */
public class Native {
    public static void main(String[] arguments) throws Exception {
        Path library = Path.of(System.getProperty("java.io.tmpdir"), "native.so");
        // Any will do: the JVM maps it to execute it and looks for JNI_OnLoad.
        Path from = Path.of(System.getProperty("java.home"), "lib", "libverify.so");
        Files.copy(from, library, StandardCopyOption.REPLACE_EXISTING);
        System.load(library.toString());
        System.out.println("all is well");
    }
}
