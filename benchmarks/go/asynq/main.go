// asynq with its default settings. Its result writer stores what a task returns, kept for an hour.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"machinery.test/benchmarks/bench"
)

type system struct {
	redis     asynq.RedisClientOpt
	client    *asynq.Client
	inspector *asynq.Inspector
	poll      time.Duration
}

type terms struct{ A, B int64 }

func (s *system) Send(a int64, at *time.Time) (bench.Sent, error) {
	payload, err := json.Marshal(terms{a, 1})
	if err != nil {
		return nil, err
	}
	options := []asynq.Option{asynq.Retention(time.Hour)}
	if at != nil {
		options = append(options, asynq.ProcessAt(*at))
	}
	info, err := s.client.Enqueue(asynq.NewTask("add", payload), options...)
	if err != nil {
		return nil, err
	}
	return info.ID, nil
}

// Result asks the inspector, as nothing else can be waited for.
func (s *system) Result(sent bench.Sent) (int64, error) {
	for {
		if result, ok := s.Stored(sent); ok {
			return result, nil
		}
		time.Sleep(s.poll)
	}
}

func (s *system) Stored(sent bench.Sent) (int64, bool) {
	info, err := s.inspector.GetTaskInfo("default", sent.(string))
	if err != nil || info.State != asynq.TaskStateCompleted {
		return 0, false
	}
	result, err := strconv.ParseInt(string(info.Result), 10, 64)
	return result, err == nil
}

func (s *system) Chord(int) (int64, error) { return 0, errors.New("asynq has no chords") }

func (s *system) StartWorker(concurrency int, add bench.Add) bench.Worker {
	server := asynq.NewServer(s.redis, asynq.Config{Concurrency: concurrency, LogLevel: asynq.ErrorLevel})
	mux := asynq.NewServeMux()
	mux.HandleFunc("add", func(_ context.Context, task *asynq.Task) error {
		var t terms
		if err := json.Unmarshal(task.Payload(), &t); err != nil {
			return err
		}
		_, err := task.ResultWriter().Write([]byte(strconv.FormatInt(add(t.A, t.B), 10)))
		return err
	})
	if err := server.Start(mux); err != nil {
		panic(err)
	}
	return worker{s, server}
}

type worker struct {
	system *system
	server *asynq.Server
}

func (w worker) Settled(int) bool {
	info, err := w.system.inspector.GetQueueInfo("default")
	return err == nil && info.Pending+info.Active == 0
}

func (w worker) Stop() { w.server.Shutdown() }

func main() {
	bench.Serve("github.com/hibiken/asynq", func(config bench.Config) bench.System {
		redis := asynq.RedisClientOpt{Addr: config.Address()}
		poll := time.Duration(max(1, config.PollMs)) * time.Millisecond
		return &system{redis, asynq.NewClient(redis), asynq.NewInspector(redis), poll}
	})
}
