// Task<T> by forward declaration: enough to declare coroutines in headers without the cost of Asio.
#pragma once

namespace boost::asio {
class any_io_executor;
class io_context;
template <typename T, typename Executor>
class awaitable;
}  // namespace boost::asio

namespace brume {

/// The executor of one loop (a single-threaded io_context). Cheap to copy once brume/base/task.h is included.
using Executor = boost::asio::any_io_executor;

/// A lazy coroutine: it runs when awaited or spawned in a TaskGroup. Spawned coroutines take parameters by value.
template <typename T>
using Task = boost::asio::awaitable<T, boost::asio::any_io_executor>;

class TaskGroup;
class Clock;

}  // namespace brume
