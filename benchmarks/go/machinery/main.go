// Go Machinery v2 on Redis, broker and backend, with its default settings; or on RabbitMQ, with results there or in Redis.
package main

import (
	"os"
	"sync/atomic"
	"time"

	"github.com/RichardKnop/logging"
	machinery "github.com/RichardKnop/machinery/v2"
	amqpbackend "github.com/RichardKnop/machinery/v2/backends/amqp"
	backends "github.com/RichardKnop/machinery/v2/backends/redis"
	"github.com/RichardKnop/machinery/v2/backends/result"
	amqpbroker "github.com/RichardKnop/machinery/v2/brokers/amqp"
	brokers "github.com/RichardKnop/machinery/v2/brokers/redis"
	"github.com/RichardKnop/machinery/v2/config"
	locks "github.com/RichardKnop/machinery/v2/locks/eager"
	"github.com/RichardKnop/machinery/v2/log"
	"github.com/RichardKnop/machinery/v2/tasks"
	"machinery.test/benchmarks/bench"
)

type system struct {
	config bench.Config
	server *machinery.Server
	poll   time.Duration
}

// newServer takes the concurrency of its worker: with its default of 3 messages in hand, RabbitMQ's other slots would be idle.
func newServer(c bench.Config, concurrency int) *machinery.Server {
	cnf := &config.Config{
		DefaultQueue: "machinery_tasks", ResultsExpireIn: 3600, NoUnixSignals: true,
		Redis: &config.RedisConfig{NormalTasksPollPeriod: c.NormalTasksPollPeriod},
	}
	address := []string{c.Address()}
	if c.AMQP == "" {
		return machinery.NewServer(cnf, brokers.NewGR(cnf, address, 0), backends.NewGR(cnf, address, 0), locks.New())
	}
	cnf.DefaultQueue, cnf.Broker, cnf.ResultBackend = c.Queue, c.AMQP, c.AMQP
	cnf.AMQP = &config.AMQPConfig{
		Exchange: "machinery_exchange", ExchangeType: "direct", BindingKey: c.Queue, PrefetchCount: concurrency,
	}
	if c.Results == "amqp" {
		return machinery.NewServer(cnf, amqpbroker.New(cnf), amqpbackend.New(cnf), locks.New())
	}
	return machinery.NewServer(cnf, amqpbroker.New(cnf), backends.NewGR(cnf, address, 0), locks.New())
}

func add(a int64) *tasks.Signature {
	return &tasks.Signature{Name: "add", Args: []tasks.Arg{{Type: "int64", Value: a}, {Type: "int64", Value: int64(1)}}}
}

func (s *system) Send(a int64, at *time.Time) (bench.Sent, error) {
	signature := add(a)
	signature.ETA = at
	return s.server.SendTask(signature)
}

func (s *system) Result(sent bench.Sent) (int64, error) {
	values, err := sent.(*result.AsyncResult).Get(s.poll)
	if err != nil {
		return 0, err
	}
	return values[0].Int(), nil
}

func (s *system) Stored(sent bench.Sent) (int64, bool) {
	// Of those in RabbitMQ each look takes a state, the oldest.
	for range 4 {
		values, err := sent.(*result.AsyncResult).Touch()
		if err != nil {
			return 0, false
		}
		if len(values) > 0 {
			return values[0].Int(), true
		}
	}
	return 0, false
}

func (s *system) Chord(size int) (int64, error) {
	members := make([]*tasks.Signature, size)
	for i := range members {
		members[i] = add(int64(i))
	}
	group, err := tasks.NewGroup(members...)
	if err != nil {
		return 0, err
	}
	chord, err := tasks.NewChord(group, &tasks.Signature{Name: "total"})
	if err != nil {
		return 0, err
	}
	sent, err := s.server.SendChord(chord, 100)
	if err != nil {
		return 0, err
	}
	values, err := sent.Get(s.poll)
	if err != nil {
		return 0, err
	}
	return values[0].Int(), nil
}

// StartWorker has a server of its own, as stopping a worker closes its server's broker.
func (s *system) StartWorker(concurrency int, add bench.Add) bench.Worker {
	server := newServer(s.config, concurrency)
	total := func(terms ...int64) (int64, error) {
		sum := int64(0)
		for _, term := range terms {
			sum += term
		}
		return sum, nil
	}
	one := func(a, b int64) (int64, error) { return add(a, b), nil }
	if err := server.RegisterTasks(map[string]any{"add": one, "total": total}); err != nil {
		panic(err)
	}
	w := &worker{Worker: server.NewWorker("bench", concurrency)}
	w.SetPostTaskHandler(func(*tasks.Signature) { w.done.Add(1) })
	w.LaunchAsync(make(chan error, 1))
	return w
}

type worker struct {
	*machinery.Worker
	done atomic.Int64
}

// Settled by the handler that is called after the result is stored: a message is gone when it is taken.
func (w *worker) Settled(ran int) bool { return w.done.Load() == int64(ran) }

func (w *worker) Stop() { w.Quit() }

type quiet struct{}

func (quiet) Print(...any)          {}
func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}
func (quiet) Fatal(...any)          { os.Exit(1) }
func (quiet) Fatalf(string, ...any) { os.Exit(1) }
func (quiet) Fatalln(...any)        { os.Exit(1) }
func (quiet) Panic(...any)          { panic("machinery") }
func (quiet) Panicf(string, ...any) { panic("machinery") }
func (quiet) Panicln(...any)        { panic("machinery") }

var _ logging.LoggerInterface = quiet{}

func main() {
	log.SetDebug(quiet{}) // stdout is for answers
	log.SetInfo(quiet{})
	log.SetWarning(quiet{})
	bench.Serve("github.com/RichardKnop/machinery/v2", func(config bench.Config) bench.System {
		// 5 ms is what its examples wait between two looks.
		poll := 5 * time.Millisecond
		if config.PollMs > 0 {
			poll = time.Duration(config.PollMs) * time.Millisecond
		}
		return &system{config, newServer(config, 1), poll}
	})
}
