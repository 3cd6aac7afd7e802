// A program on Go Machinery v2, as it is in a fleet without Node: "worker" runs add, "send" sends slugify and prints its result.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/RichardKnop/machinery/v2"
	redisbackend "github.com/RichardKnop/machinery/v2/backends/redis"
	redisbroker "github.com/RichardKnop/machinery/v2/brokers/redis"
	"github.com/RichardKnop/machinery/v2/config"
	eagerlock "github.com/RichardKnop/machinery/v2/locks/eager"
	"github.com/RichardKnop/machinery/v2/tasks"
)

func add(terms ...int64) (int64, error) {
	var sum int64
	for _, term := range terms {
		sum += term
	}
	return sum, nil
}

func startServer() (*machinery.Server, error) {
	cnf := &config.Config{DefaultQueue: "machinery_tasks", ResultsExpireIn: 3600, Redis: &config.RedisConfig{}}
	address := []string{"127.0.0.1:6379"}
	if url := os.Getenv("REDIS_URL"); url != "" {
		address[0] = strings.TrimPrefix(url, "redis://")
	}
	broker := redisbroker.NewGR(cnf, address, 0)
	backend := redisbackend.NewGR(cnf, address, 0)
	server := machinery.NewServer(cnf, broker, backend, eagerlock.New())
	return server, server.RegisterTasks(map[string]interface{}{"add": add})
}

func worker() error {
	server, err := startServer()
	if err != nil {
		return err
	}
	return server.NewWorker("go-worker", 10).Launch()
}

func send() error {
	server, err := startServer()
	if err != nil {
		return err
	}
	slugify := tasks.Signature{
		Name:       "slugify",
		RoutingKey: "node_tasks", // the queue of the worker that has it
		Args:       []tasks.Arg{{Type: "string", Value: "Crème brûlée, twice"}},
	}
	result, err := server.SendTaskWithContext(context.Background(), &slugify)
	if err != nil {
		return err
	}
	values, err := result.GetWithTimeout(10*time.Second, 5*time.Millisecond)
	if err != nil {
		return err
	}
	fmt.Println("Go asks Node to slugify:", tasks.HumanReadableResults(values))
	return nil
}

func main() {
	run := worker
	if len(os.Args) > 1 && os.Args[1] == "send" {
		run = send
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
