// ferretdb is FerretDB 1.24 with SQLite as a MongoDB for tests: `ferretdb PORT FOLDER`.
//
// MongoDB changes a document in one step. FerretDB 1 reads it, changes it and writes it back, so that of two changes at once one may
// be lost. Here commands are taken to it one at a time, which makes steps of them.
package main

import (
	"context"
	"encoding/binary"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	port, folder := os.Args[1], os.Args[2]
	socket := folder + "/ferretdb.sock"
	os.Remove(socket) // of one that was killed
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		log.Fatal(err)
	}
	go server.Run(context.Background())
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	var oneAtATime sync.Mutex
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client, socket, &oneAtATime)
	}
}

// serve takes each message of a client to the server, and the answer back.
func serve(client net.Conn, socket string, oneAtATime *sync.Mutex) {
	defer client.Close()
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		request, err := message(client)
		if err != nil {
			return
		}
		answer, err := exchange(server, request, oneAtATime)
		if err != nil {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

func exchange(server net.Conn, request []byte, oneAtATime *sync.Mutex) ([]byte, error) {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	return message(server)
}

// message reads one: its first four bytes are its length.
func message(from io.Reader) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return nil, err
	}
	text := make([]byte, max(4, binary.LittleEndian.Uint32(header[:])))
	copy(text, header[:])
	_, err := io.ReadFull(from, text[4:])
	return text, err
}
