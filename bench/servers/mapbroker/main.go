// The centrifuge library with its map broker: keyed state in Redis with a stream for recovery. A map publish from
// a client adds one to the key that it names. Mutations of a room take turns in this process, and compare-and-set
// protects against others.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"

	"github.com/centrifugal/centrifuge"
)

// Adding one to a key, with what this process knows of it.
type counter struct {
	sync.Mutex
	count    int
	position *centrifuge.StreamPosition
}

func (c *counter) add(node *centrifuge.Node, channel, key string) (*centrifuge.MapUpdateResult, error) {
	c.Lock()
	defer c.Unlock()
	for {
		options := centrifuge.MapPublishOptions{
			Data:             strconv.AppendInt(nil, int64(c.count+1), 10),
			ExpectedPosition: c.position,
		}
		if c.position == nil {
			options.KeyMode = centrifuge.KeyModeIfNew
		}
		result, err := node.MapPublish(context.Background(), channel, key, options)
		if err != nil {
			return nil, err
		}
		if !result.Suppressed {
			c.count++
			c.position = &result.Position
			return &result, nil
		}
		if err := c.read(node, channel, key); err != nil {
			return nil, err
		}
	}
}

func (c *counter) read(node *centrifuge.Node, channel, key string) error {
	state, err := node.MapStateRead(context.Background(), channel, centrifuge.MapReadStateOptions{Key: key})
	if err != nil {
		return err
	}
	c.position = nil
	for _, entry := range state.Publications {
		c.position = &centrifuge.StreamPosition{Offset: entry.Offset, Epoch: state.Position.Epoch}
		if c.count, err = strconv.Atoi(string(entry.Data)); err != nil {
			return err
		}
	}
	return nil
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func newNode(redis string) *centrifuge.Node {
	node, err := centrifuge.New(centrifuge.Config{
		LogLevel:   centrifuge.LogLevelError,
		LogHandler: func(entry centrifuge.LogEntry) { log.Println(entry.Message, entry.Fields) },
		Map: centrifuge.MapConfig{
			GetMapChannelOptions: func(string) centrifuge.MapChannelOptions {
				return centrifuge.MapChannelOptions{Mode: centrifuge.MapModePersistent}
			},
		},
	})
	must(err)
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: "127.0.0.1:" + redis})
	must(err)
	shards := []*centrifuge.RedisShard{shard}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Prefix: "maps", Shards: shards})
	must(err)
	node.SetBroker(broker)
	maps, err := centrifuge.NewRedisMapBroker(node, centrifuge.RedisMapBrokerConfig{Prefix: "maps", Shards: shards})
	must(err)
	node.SetMapBroker(maps)
	return node
}

func main() {
	port, redis := os.Args[1], os.Args[2]
	node := newNode(redis)
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	var counters sync.Map // by channel and key
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(event centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			answer(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{Type: event.Type}}, nil)
		})
		client.OnMapPublish(func(event centrifuge.MapPublishEvent, answer centrifuge.MapPublishCallback) {
			known, _ := counters.LoadOrStore([2]string{event.Channel, event.Key}, new(counter))
			result, err := known.(*counter).add(node, event.Channel, event.Key)
			answer(centrifuge.MapPublishReply{Key: event.Key, Result: result}, err)
		})
	})
	must(node.Run())
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
	must(http.ListenAndServe("127.0.0.1:"+port, nil))
}
