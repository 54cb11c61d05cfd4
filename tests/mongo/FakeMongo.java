// mongo-java-server as a process: FakeMongo PORT [FILE]. In memory, or in an H2 file that SIGTERM leaves complete.
// Says "ready" when it listens. CONTRIBUTING.md says what it does not do as MongoDB does.

import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

final class FakeMongo {
  public static void main(String[] arguments) throws InterruptedException {
    int port = Integer.parseInt(arguments[0]);
    MongoBackend kept = arguments.length > 1 ? new H2Backend(arguments[1]) : new MemoryBackend();
    MongoServer server = new MongoServer(kept);
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    server.bind("127.0.0.1", port);
    System.out.println("ready");
    new java.util.concurrent.CountDownLatch(1).await();
  }
}
