// pubsub-fake is Google's own fake of Pub/Sub (pstest) as a server for tests. It adds what the service does and the fake does not:
// Pull answers as soon as there is a message, ack IDs are of one delivery, those whose lease is over are refused where delivery is
// exactly once, a request has up to a thousand messages of one ordering key and ten megabytes, and a restart keeps what is stored.
//
// It prints its address, then does what is asked on its standard input, a line each, and ends with it:
// `stop` and `start` the server, `transient N`: the next N acknowledgements fail for a while, `counts`: the calls so far, as JSON.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "cloud.google.com/go/pubsub/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/pstest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	maxRequestBytes = 10_000_000
	// The service waits for about a minute and a half.
	pullWait = 30 * time.Second
)

func main() {
	port := flag.Int("port", 0, "0: one that is free")
	minAckDeadline := flag.Duration("min-ack-deadline", 10*time.Second, "the least of a subscription")
	latency := flag.Duration("latency", 0, "what each call takes more")
	flag.Parse()
	pstest.SetMinAckDeadline(*minAckDeadline)
	f := &fake{GServer: &pstest.NewServer().GServer, leases: map[string]*lease{}, calls: map[string]int{}, latency: *latency}
	address := fmt.Sprintf("127.0.0.1:%d", *port)
	server, address := serve(f, address)
	fmt.Println(address)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch command, argument, _ := strings.Cut(lines.Text(), " "); command {
		case "stop":
			server.Stop()
		case "start":
			server, _ = serve(f, address)
		case "transient":
			n, _ := strconv.Atoi(argument)
			f.mu.Lock()
			f.transient = n
			f.mu.Unlock()
		case "counts":
			f.mu.Lock()
			text, _ := json.Marshal(f.calls)
			f.mu.Unlock()
			fmt.Println(string(text))
			continue
		}
		fmt.Println("done")
	}
}

func serve(f *fake, address string) (*grpc.Server, string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pubsub-fake:", err)
		os.Exit(1)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxRequestBytes), grpc.MaxSendMsgSize(10*maxRequestBytes), grpc.UnaryInterceptor(f.count))
	pb.RegisterPublisherServer(server, f)
	pb.RegisterSubscriberServer(server, f)
	go server.Serve(listener)
	return server, listener.Addr().String()
}

// lease is the last delivery of a message to a subscription by Pull.
type lease struct {
	delivery int
	until    time.Time
}

type fake struct {
	*pstest.GServer
	mu        sync.Mutex
	leases    map[string]*lease // by subscription and message ID
	transient int
	calls     map[string]int
	latency   time.Duration
}

func (f *fake) count(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	f.mu.Lock()
	f.calls[path.Base(info.FullMethod)]++
	f.mu.Unlock()
	time.Sleep(f.latency / 2)
	defer time.Sleep(f.latency / 2)
	return handler(ctx, req)
}

func (f *fake) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	if len(req.Messages) > 1_000 {
		return nil, status.Errorf(codes.InvalidArgument, "The request has %d messages, more than 1000.", len(req.Messages))
	}
	for _, m := range req.Messages {
		if m.OrderingKey != req.Messages[0].OrderingKey {
			return nil, status.Error(codes.FailedPrecondition, "In a single publish request, all messages must have no ordering key or they must all have the same ordering key.")
		}
	}
	return f.GServer.Publish(ctx, req)
}

func (f *fake) Pull(ctx context.Context, req *pb.PullRequest) (*pb.PullResponse, error) {
	now := &pb.PullRequest{Subscription: req.Subscription, MaxMessages: req.MaxMessages, ReturnImmediately: true}
	for end := time.Now().Add(pullWait); ; {
		res, err := f.GServer.Pull(ctx, now)
		if err != nil {
			return nil, err
		}
		if len(res.ReceivedMessages) > 0 || req.ReturnImmediately || time.Now().After(end) {
			return f.handOut(ctx, req.Subscription, res)
		}
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// handOut gives each delivery an ack ID of its own: the message's ID and a number.
func (f *fake) handOut(ctx context.Context, name string, res *pb.PullResponse) (*pb.PullResponse, error) {
	sub, err := f.GServer.GetSubscription(ctx, &pb.GetSubscriptionRequest{Subscription: name})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	own := &pb.PullResponse{}
	for _, m := range res.ReceivedMessages {
		key := name + " " + m.AckId
		if f.leases[key] == nil {
			f.leases[key] = &lease{}
		}
		f.leases[key].delivery++
		f.leases[key].until = time.Now().Add(time.Duration(sub.AckDeadlineSeconds) * time.Second)
		ackID := fmt.Sprintf("%s:%d", m.AckId, f.leases[key].delivery)
		own.ReceivedMessages = append(own.ReceivedMessages, &pb.ReceivedMessage{AckId: ackID, Message: m.Message, DeliveryAttempt: m.DeliveryAttempt})
	}
	return own, nil
}

func (f *fake) Acknowledge(ctx context.Context, req *pb.AcknowledgeRequest) (*emptypb.Empty, error) {
	if f.failsForNow() {
		return nil, refused(req.AckIds, "TRANSIENT_FAILURE_SERVICE_UNAVAILABLE")
	}
	valid, stale, err := f.sort(ctx, req.Subscription, req.AckIds, 0)
	if err == nil {
		_, err = f.GServer.Acknowledge(ctx, &pb.AcknowledgeRequest{Subscription: req.Subscription, AckIds: valid})
	}
	return answer(err, stale)
}

func (f *fake) ModifyAckDeadline(ctx context.Context, req *pb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	valid, stale, err := f.sort(ctx, req.Subscription, req.AckIds, time.Duration(req.AckDeadlineSeconds)*time.Second)
	if err == nil {
		modified := &pb.ModifyAckDeadlineRequest{Subscription: req.Subscription, AckIds: valid, AckDeadlineSeconds: req.AckDeadlineSeconds}
		_, err = f.GServer.ModifyAckDeadline(ctx, modified)
	}
	return answer(err, stale)
}

func (f *fake) failsForNow() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.transient--
	return f.transient >= 0
}

// sort answers the message IDs of those that can be settled, and the ack IDs of those that must be refused.
func (f *fake) sort(ctx context.Context, name string, ackIDs []string, extension time.Duration) (valid, stale []string, err error) {
	sub, err := f.GServer.GetSubscription(ctx, &pb.GetSubscriptionRequest{Subscription: name})
	if err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ackID := range ackIDs {
		id, number, pulled := strings.Cut(ackID, ":")
		last := f.leases[name+" "+id]
		isCurrent := !pulled || last != nil && number == strconv.Itoa(last.delivery) && time.Now().Before(last.until)
		switch {
		case isCurrent:
			valid = append(valid, id)
			if last != nil {
				last.until = time.Now().Add(extension)
			}
		case sub.EnableExactlyOnceDelivery:
			stale = append(stale, ackID)
		case last != nil && number == strconv.Itoa(last.delivery):
			valid = append(valid, id) // late, but nobody else has it
		}
	}
	return valid, stale, nil
}

func answer(err error, stale []string) (*emptypb.Empty, error) {
	if err == nil && len(stale) > 0 {
		err = refused(stale, "PERMANENT_FAILURE_INVALID_ACK_ID")
	}
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// refused is what the service answers for single ack IDs of a subscription with exactly-once delivery.
func refused(ackIDs []string, reason string) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: "pubsub.googleapis.com", Metadata: map[string]string{}}
	for _, ackID := range ackIDs {
		info.Metadata[ackID] = reason
	}
	detailed, err := status.New(codes.FailedPrecondition, "some acknowledgement ids were refused").WithDetails(info)
	if err != nil {
		return err
	}
	return detailed.Err()
}
